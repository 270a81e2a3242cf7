"""`python -m scripts.bench.baselines.append_app PORT BYTES`: the least that a durable answer takes.

It parses a request with httptools, appends a constant of so many bytes with one XADD and,
once Valkey has answered, writes a constant. What is appended in one turn of the event loop
is one write. REDIS_URL says where Valkey is.
"""

import asyncio
import os
import sys
from collections import deque
from collections.abc import Callable
from typing import Any, Final, cast

import hiredis
from httptools import HttpRequestParser
from redis.connection import parse_url
from typing_extensions import override

from ingest.contracts.stream import FIELD, events_key
from scripts.bench.baselines.aiohttp_app import ANSWER, BACKLOG
from scripts.bench.environment.loops import runner

#: As an edge spreads entries over its shards, so that none grows long.
KEYS: Final = tuple(f"{events_key(shard)}:constant" for shard in range(4))
_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_ANSWER: Final = b"%sContent-Length: %d\r\n\r\n%s" % (_HEAD, len(ANSWER), ANSWER)


class _Appender(asyncio.Protocol):
    """The connection to Valkey."""

    def __init__(self, payload: bytes, password: str | None) -> None:
        pack: Any = hiredis.pack_command  # its stub knows tuples of one
        self._commands = [pack(("XADD", key, "*", FIELD, payload)) for key in KEYS]
        self._unsent: list[bytes] = []
        self._waiting: deque[Callable[[], None]] = deque()
        if password:
            self._unsent.append(pack(("AUTH", password)))
            self._waiting.append(lambda: None)
        self._replies = hiredis.Reader()
        self._loop = asyncio.get_running_loop()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._flush()

    @override
    def data_received(self, data: bytes) -> None:
        self._replies.feed(data)
        while (reply := self._replies.gets()) is not False:
            if isinstance(reply, Exception):
                raise reply
            self._waiting.popleft()()

    def append(self, then: Callable[[], None]) -> None:
        """Append the constant; `then` is called when Valkey has it."""
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(self._commands[len(self._waiting) % len(KEYS)])
        self._waiting.append(then)

    def _flush(self) -> None:
        self._transport.write(b"".join(self._unsent))
        self._unsent.clear()


class _Caller(asyncio.Protocol):
    """One connection of a caller, which waits for an answer before it asks again."""

    def __init__(self, appender: _Appender) -> None:
        self._appender = appender
        self._parser = HttpRequestParser(self)

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self._appender.append(self._reply)

    def _reply(self) -> None:
        # A load that ends does not wait for the answers that are out.
        if not self._transport.is_closing():
            self._transport.write(_ANSWER)


async def _serve(port: int, size: int) -> None:
    loop = asyncio.get_running_loop()
    where: Any = parse_url(os.environ["REDIS_URL"])  # type: ignore[no-untyped-call]  # noqa: TID251 -- an entry point
    # The servers of a measurement listen on a socket in their folder.
    _, appender = await loop.create_unix_connection(
        lambda: _Appender(bytes(size), where.get("password")), where["path"]
    )
    server = await loop.create_server(
        lambda: _Caller(appender), "127.0.0.1", port, backlog=BACKLOG
    )
    await server.serve_forever()


if __name__ == "__main__":
    with runner() as loop:
        loop.run(_serve(*map(int, sys.argv[1:])))
