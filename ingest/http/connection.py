"""A connection of the edge: it answers plain requests itself and lends the rest to aiohttp.

A request is plain if it names a route without variables, comes whole, and wants nothing
special of HTTP. Nearly all are. A plain request costs no task, stream or header map.

Every other request goes, byte for byte, to an aiohttp handler on the same transport. If it
came whole, the connection takes the next request back. If only aiohttp can tell where it
ends (chunks, a long body, malformed bytes), the connection stays with aiohttp.
"""

import asyncio
from collections.abc import Mapping
from enum import Enum, auto
from functools import lru_cache
from time import monotonic
from typing import Final, Protocol, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from typing_extensions import override

from ingest.core.client_ip import normalized
from ingest.http.fast_path import PlainRoutes
from ingest.http.handlers import BODY_BYTES

#: aiohttp's own bound for one line; a longer head is for it to refuse.
_HEAD_BYTES: Final = 8190
#: aiohttp refuses a request with more of them.
_MOST_HEADERS: Final = 128
#: Names of headers, of which clients send the same few.
_NAMES_KEPT: Final = 512
#: What may wait behind a request under way before the connection stops reading.
_WAITING_BYTES: Final = 64 * 1024
_LENGTH_DIGITS: Final = len(str(BODY_BYTES))
#: With one of these, or with a name that comes twice, a request is not plain.
_SPECIAL: Final = frozenset(
    {"transfer-encoding", "content-encoding", "expect", "upgrade", "te", "trailer"}
)


class Handler(Protocol):
    """What a connection calls of aiohttp's protocol for one connection."""

    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> None: ...
    def connection_lost(self, exc: BaseException | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


class Manager(Protocol):
    """What a connection asks of the server that made it: room, time, and a handler."""

    @property
    def routes(self) -> PlainRoutes: ...
    @property
    def is_stopping(self) -> bool: ...

    def opened(self, connection: "Connection") -> bool:
        """Whether there is room for one more connection."""
        ...

    def closed(self, connection: "Connection") -> None: ...

    def began(self, connection: "Connection") -> None:
        """A request came whole, or aiohttp has its head."""
        ...

    def awaits_head(self, connection: "Connection") -> None: ...
    def awaits_body(self, connection: "Connection") -> None: ...
    def awaits_reader(self, connection: "Connection") -> None: ...
    def has_reader(self, connection: "Connection") -> None: ...
    def lend(self, connection: "Connection") -> Handler: ...


class _Read(Enum):
    """How much of a request has been read."""

    PART_OF_HEAD = auto()
    HEAD = auto()
    WHOLE = auto()


class Connection(asyncio.Protocol):
    """Speaks HTTP/1.1 with one client."""

    transport: asyncio.Transport | None = None
    #: Whether a request of it is under way, and whether it is answered here.
    is_busy = False
    is_answering = False
    #: When its last request came whole, in monotonic seconds.
    used_at = 0.0
    #: Whether the manager waits for a head or a body of it.
    _is_timed = False

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._parser = HttpRequestParser(self)
        self._peer: str | None = None
        self._handler: Handler | None = None
        #: Whether only aiohttp can tell where requests end.
        self._has_left = False
        #: What came behind the request under way.
        self._waiting = b""
        self._begin()

    def _begin(self) -> None:
        """Expect the first byte of a request."""
        self._chunks: list[bytes] = []
        self._headers: list[tuple[bytes, bytes]] = []
        self._read = _Read.PART_OF_HEAD
        self._messages = 0
        self._url = b""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is one by what it does, not by its class.
        self.transport = cast("asyncio.Transport", transport)
        if not self._manager.opened(self):
            self.transport.abort()
            return
        name = transport.get_extra_info("peername")
        self._peer = normalized(str(name[0])) if isinstance(name, tuple) else None
        self._await_head()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._manager.closed(self)
        self.transport = None
        if self._handler is not None:
            self._handler.connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        if self._has_left and self._handler is not None:
            if not self.is_busy:
                self._await_head()
            self._handler.data_received(data)
        elif self.is_busy:
            self._waiting += data
            if len(self._waiting) > _WAITING_BYTES and self.transport is not None:
                self.transport.pause_reading()
        else:
            self._feed(data)

    @override
    def eof_received(self) -> None:
        if self._has_left and self._handler is not None:
            self._handler.eof_received()

    @override
    def pause_writing(self) -> None:
        self._manager.awaits_reader(self)
        if self._handler is not None:
            self._handler.pause_writing()
        if not self._has_left and self.transport is not None:
            self.transport.pause_reading()

    @override
    def resume_writing(self) -> None:
        self._manager.has_reader(self)
        if self._handler is not None:
            self._handler.resume_writing()
        if not self._has_left and self.transport is not None:
            self.transport.resume_reading()

    def on_message_begin(self) -> None:
        """Called by the parser, as all that begin with `on_`."""
        self._messages += 1

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._read = _Read.HEAD

    def on_message_complete(self) -> None:
        self._read = _Read.WHOLE

    def _feed(self, data: bytes) -> None:
        self._chunks.append(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self._leave()
            return
        if self._messages > 1:
            self._leave()
        elif self._read is _Read.WHOLE:
            self._answer_whole()
        elif self._read is _Read.HEAD:
            self._await_body()
        elif sum(map(len, self._chunks)) > _HEAD_BYTES:
            self._leave()
        else:
            self._await_head()

    def _answer_whole(self) -> None:
        chunks = self._chunks
        raw = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        route = self._manager.routes.get((self._parser.get_method(), self._url))
        headers = None if route is None else self._plain_headers()
        self.is_busy = True
        self.used_at = monotonic()
        if self._is_timed:
            self._is_timed = False
            self._manager.began(self)
        if route is not None and headers is not None:
            end = raw.find(b"\r\n\r\n") + 4
            length = len(raw) - end
            # What the client announced and what stands behind the head are one length.
            is_framed = headers.get("content-length", "0") == str(length)
            if is_framed and end <= _HEAD_BYTES and length <= BODY_BYTES:
                self.is_answering = True
                route.answer(headers, raw[end:], self._peer, self._write)
                return
        self._lend(raw)

    def _plain_headers(self) -> Mapping[str, str] | None:
        """The headers by their names in lower case; None if the request is not plain."""
        parser = self._parser
        if parser.get_http_version() != "1.1" or not parser.should_keep_alive():
            return None
        try:
            headers = {
                _lower(name): value.decode("ascii") for name, value in self._headers
            }
        except UnicodeDecodeError:
            return None
        are_single = len(headers) == len(self._headers) < _MOST_HEADERS
        return headers if are_single and _SPECIAL.isdisjoint(headers) else None

    def _await_head(self) -> None:
        self._is_timed = True
        self._manager.awaits_head(self)

    def _await_body(self) -> None:
        """Wait for the body if it will be answered here; aiohttp reads any other."""
        route = self._manager.routes.get((self._parser.get_method(), self._url))
        headers = None if route is None else self._plain_headers()
        if headers is None or _length(headers) < 0:
            self._leave()
        else:
            self._is_timed = True
            self._manager.awaits_body(self)

    def _write(self, answer: bytes) -> None:
        self.is_busy = self.is_answering = False
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(answer)
            self._begin()
            if self._waiting or self._manager.is_stopping:
                self._next()

    def _next(self) -> None:
        """Read what came behind the request that was answered."""
        if self.transport is None or self.transport.is_closing():
            return
        if self._waiting:
            data, self._waiting = self._waiting, b""
            self.transport.resume_reading()
            self._feed(data)
        elif self._manager.is_stopping:
            self.transport.close()

    def _lend(self, raw: bytes) -> None:
        """Let aiohttp answer one whole request."""
        if self._handler is None:
            self._handler = self._manager.lend(self)
        self._handler.data_received(raw)

    def _leave(self) -> None:
        """Let aiohttp have this request and all that follow."""
        self._has_left = True
        raw, self._chunks = b"".join(self._chunks), []
        self._await_head()
        self._lend(raw)

    def abandon(self) -> None:
        """Let aiohttp have a request whose body does not come."""
        if not self._has_left and not self.is_busy and self._read is _Read.HEAD:
            self._leave()

    def close(self) -> None:
        """Close once what was written has left."""
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def aiohttp_began(self) -> None:
        """Aiohttp has the head of a request."""
        self.is_busy = True
        self.used_at = monotonic()
        self._is_timed = False
        self._manager.began(self)

    def aiohttp_ended(self) -> None:
        """Aiohttp has written its answer."""
        self.is_busy = False
        if not self._has_left:
            self._begin()
            self._next()


@lru_cache(_NAMES_KEPT)
def _lower(name: bytes) -> str:
    return name.decode("ascii").lower()


def _length(headers: Mapping[str, str]) -> int:
    """The length of a body that is read here; -1 for every other."""
    text = headers.get("content-length", "0")
    if not (text.isdecimal() and len(text) <= _LENGTH_DIGITS):
        return -1
    length = int(text)
    return length if length <= BODY_BYTES else -1
