"""HTTP/1.1 as a busy client speaks it, and no more of it than the edge needs.

A connection carries one request at a time. Whatever happens to it before the whole answer
is there, nobody knows what became of the request: `Unanswered`.
"""

import asyncio
from typing import Any, Final, NamedTuple, cast

import orjson
from typing_extensions import override

from scripts.bench.environment.proxy import HOST
from scripts.bench.load.generator import is_whole
from scripts.bench.storm.traffic import Request

_HEAD_END: Final = b"\r\n\r\n"
_OK: Final = range(200, 300)

#: Whether an edge takes events.
READY: Final = b"GET /readyz HTTP/1.1\r\nHost: storm.example" + _HEAD_END


class Unanswered(Exception):
    """No answer came, or not in time: the request was taken, or it was not."""


class Answer(NamedTuple):
    """What an edge said."""

    status: int
    body: bytes

    @property
    def is_accepted(self) -> bool:
        return self.status in _OK

    @property
    def document(self) -> dict[str, Any]:
        """The body, or nothing where it is no JSON object."""
        try:
            document = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return {}
        return document if isinstance(document, dict) else {}


def encoded(request: Request) -> bytes:
    """The request as it goes over the wire."""
    body = b"" if request.body is None else orjson.dumps(request.body)
    lines = [
        f"POST {request.path} HTTP/1.1",
        "Host: storm.example",
        f"Content-Length: {len(body)}",
        *(["Content-Type: application/json"] if body else []),
        *(f"{name}: {value}" for name, value in request.headers.items()),
    ]
    return "\r\n".join(lines).encode() + _HEAD_END + body


class Connections:
    """Connections to one port, as many as there are requests under way."""

    def __init__(self, port: int, most: int) -> None:
        self._port = port
        self._most = most
        self._under_way = 0
        self._idle: list[_Connection] = []

    @property
    def is_full(self) -> bool:
        return self._under_way >= self._most

    async def ask(self, request: bytes, seconds: float) -> Answer:
        """Raises Unanswered."""
        self._under_way += 1
        connection: _Connection | None = None
        try:
            async with asyncio.timeout(seconds):
                connection = await self._connected()
                answer = await connection.ask(request)
        except (OSError, TimeoutError) as error:
            if connection is not None:
                connection.abort()
            raise Unanswered from error
        finally:
            self._under_way -= 1
        self._idle.append(connection)
        return answer

    def close(self) -> None:
        for connection in self._idle:
            connection.abort()

    async def _connected(self) -> "_Connection":
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, HOST, self._port)
        return connection


class _Connection(asyncio.Protocol):
    """Asks, and waits for the whole answer."""

    def __init__(self) -> None:
        self.is_open = False
        self._read = b""
        self._answer: asyncio.Future[Answer] | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    @override
    def data_received(self, data: bytes) -> None:
        self._read += data
        if not is_whole(self._read):
            return
        whole, self._read = self._read, b""
        if self._answer is not None and not self._answer.done():
            body = whole.partition(_HEAD_END)[2]
            self._answer.set_result(Answer(int(whole[9:12]), body))

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("closed before the answer"))

    async def ask(self, request: bytes) -> Answer:
        if not self.is_open:
            raise ConnectionError("closed")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def abort(self) -> None:
        self.is_open = False
        self._transport.abort()
