"""`python -m scripts.bench.baselines.append_app PORT BYTES`: the least that a durable answer takes.

It parses a request with httptools, appends a constant of so many bytes with one XADD and,
once Valkey has answered, writes a constant. What is appended in one turn of the event loop
is one write. REDIS_URL says where Valkey is.
"""

import asyncio
import os
import signal
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
from scripts.bench.loops import runner

#: As an edge spreads entries over its shards, so that none grows long.
KEYS: Final = tuple(f"{events_key(shard)}:constant" for shard in range(4))
_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


class _Appender(asyncio.Protocol):
    """The connection to Valkey."""

    def __init__(self, payload: bytes) -> None:
        pack: Any = hiredis.pack_command  # its stub knows tuples of one
        self._commands = [pack(("XADD", key, "*", FIELD, payload)) for key in KEYS]
        self._unsent: list[bytes] = []
        self._waiting: deque[Callable[[], None]] = deque()
        self._replies = hiredis.Reader()
        self._loop = asyncio.get_running_loop()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

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

    def __init__(self, appender: _Appender, answer: bytes) -> None:
        self._appender = appender
        self._answer = answer
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
            self._transport.write(self._answer)


async def _connected(url: str, payload: bytes) -> _Appender:
    where: Any = parse_url(url)  # type: ignore[no-untyped-call]
    loop = asyncio.get_running_loop()
    if "path" in where:
        made = loop.create_unix_connection(lambda: _Appender(payload), where["path"])
        _, appender = await made
        return appender
    _, appender = await loop.create_connection(
        lambda: _Appender(payload), where["host"], where["port"]
    )
    return appender


async def _serve(port: int, size: int) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    url = os.environ["REDIS_URL"]  # noqa: TID251 -- an entry point
    appender = await _connected(url, bytes(size))
    answer = b"%sContent-Length: %d\r\n\r\n%s" % (_HEAD, len(ANSWER), ANSWER)
    await loop.create_server(
        lambda: _Caller(appender, answer), "127.0.0.1", port, backlog=BACKLOG
    )
    await stop.wait()


def main() -> None:
    port, size = map(int, sys.argv[1:])
    with runner() as loop:
        loop.run(_serve(port, size))


if __name__ == "__main__":
    main()
