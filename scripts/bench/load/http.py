"""HTTP/1.1 as a busy client speaks it, and no more of it than the servers here need.

A connection carries one request at a time. It is several times quicker than a client that
speaks all of HTTP.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final, cast

from typing_extensions import override

from scripts.bench.environment.proxy import HOST

_HEAD_END: Final = b"\r\n\r\n"
_CLOSES: Final = b"\r\nconnection: close"
_LENGTH: Final = b"content-length:"


class Connection(asyncio.Protocol):
    """Asks, and tells of the whole answer; `lost` is called when it is closed instead."""

    def __init__(self) -> None:
        self.is_open = False
        self.lost: Callable[[], object] = lambda: None
        self._read = b""
        self._then: Callable[[bytes], None] | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    @override
    def data_received(self, data: bytes) -> None:
        self._read = self._read + data if self._read else data
        if self._then is None or not is_whole(self._read):
            return
        answer, then = self._read, self._then
        self._read, self._then = b"", None
        then(answer)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        was_open, self.is_open = self.is_open, False
        if was_open:
            self.lost()

    def ask(self, request: bytes, then: Callable[[bytes], None]) -> None:
        """Send a whole request; `then` takes the answer, head and body."""
        self._then = then
        self._transport.write(request)

    def end(self) -> None:
        self.is_open, self._then = False, None
        self._transport.abort()


class Connections:
    """Connections to one server, as many as there are requests under way.

    An answer may take so many `seconds`; `source` is the address to ask from. Unless they are
    kept, each request has a connection of its own.
    """

    def __init__(
        self, port: int, seconds: float, source: str = HOST, *, are_kept: bool = True
    ) -> None:
        self._port = port
        self._seconds = seconds
        self._source = source
        self._are_kept = are_kept
        self._idle: list[Connection] = []
        self.under_way = 0

    async def ask(self, request: bytes) -> bytes:
        """Raises OSError and TimeoutError where nobody knows what became of it."""
        self.under_way += 1
        connection: Connection | None = None
        answer = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._seconds):
                connection = await self._connected()
                connection.lost = partial(_lose, answer)
                connection.ask(request, answer.set_result)
                whole: bytes = await answer
        except (OSError, TimeoutError):
            if connection is not None:
                connection.end()
            raise
        finally:
            self.under_way -= 1
        if not self._are_kept or _CLOSES in whole.partition(_HEAD_END)[0].lower():
            connection.end()
        connection.lost = lambda: None
        self._idle.append(connection)
        return whole

    async def _connected(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        return await self.open()

    async def open(self) -> Connection:
        """One more, which is the caller's."""
        loop, source = asyncio.get_running_loop(), (self._source, 0)
        made = loop.create_connection(Connection, HOST, self._port, local_addr=source)
        return (await made)[1]

    def close(self) -> None:
        for connection in self._idle:
            connection.end()


def _lose(answer: "asyncio.Future[bytes]") -> None:
    if not answer.done():
        answer.set_exception(ConnectionError("closed before the answer"))


def framed(path: str, lines: str, body: bytes) -> bytes:
    """A whole POST; `lines` are headers, each with its line break."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Length: {len(body)}\r\n{lines}\r\n"
    ).encode() + body


def got(line: bytes, lines: str) -> bytes:
    """A whole GET of a line such as `GET /r/CODE`."""
    return line + f" HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}\r\n".encode()


def status_of(answer: bytes) -> int:
    return int(answer[9:12])


def body_of(answer: bytes) -> bytes:
    return answer.partition(_HEAD_END)[2]


def is_whole(answer: bytes) -> bool:
    """Whether all of an answer is there. It has no body unless its head says how long."""
    end = answer.find(_HEAD_END)
    if end < 0:
        return False
    _, _, rest = answer[:end].lower().partition(_LENGTH)
    length = int(rest.partition(b"\r\n")[0] or 0)
    return len(answer) >= end + len(_HEAD_END) + length
