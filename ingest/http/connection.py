"""A connection of the edge: it answers plain requests itself and lends the rest to aiohttp.

A request is plain if it names a route without variables, comes whole, and wants nothing
special of HTTP. Nearly all are. A plain request costs no task, stream or header map.

Every other request goes, byte for byte, to an aiohttp handler on the same transport. If it
came whole, the connection takes the next request back. If only aiohttp can tell where it
ends (chunks, a long body, malformed bytes), the connection stays with aiohttp.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Final, Protocol, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from typing_extensions import override

from ingest.core.client_ip import normalized
from ingest.http.driver import LARGE, Turns
from ingest.http.fast_path import Answering, Find, PlainRoutes
from ingest.http.framing import Framing
from ingest.http.handlers import BODY_BYTES
from ingest.http.head import END, Head, body_length, plain_head

#: aiohttp's own bound for one line; a longer head is for it to refuse.
_HEAD_BYTES: Final = 8190
#: Follows the first line of the last answer on a connection.
_CLOSES: Final = b"\r\nConnection: close\r\n"
#: Where an answer has the first digit of its status, and that of a refusal.
_STATUS: Final = len(b"HTTP/1.1 ")
_REFUSED: Final = ord("4")
#: What may wait behind a request under way before the connection stops reading.
_WAITING_BYTES: Final = 64 * 1024


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
    def find(self) -> Find: ...
    @property
    def is_stopping(self) -> bool:
        """Whether each connection is closed once its request is answered."""
        ...

    @property
    def turns(self) -> Turns: ...

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


class Connection(asyncio.Protocol):
    """Speaks HTTP/1.1 with one client."""

    transport: asyncio.Transport | None = None
    #: Whether a request of it is under way, and whether it is answered here.
    is_busy = False
    is_answering = False
    #: When its last request came whole, in monotonic seconds.
    used_at = 0.0
    #: Whether a request of it is due: it is new, or a head or a body has begun.
    is_due = False
    #: Whether its last request was refused: refusals cost more than clicks, and take turns.
    _was_refused = False

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._headers: dict[bytes, bytes] = {}
        #: Called by the parser, as `on_message_complete`.
        self.on_header = self._headers.__setitem__
        self._parser = HttpRequestParser(self)
        self._peer: str | None = None
        self._handler: Handler | None = None
        #: Of a connection that stays with aiohttp: only it can tell where requests end.
        self._framing: Framing | None = None
        #: Requests that aiohttp answers; it may begin with the next early.
        self._lent = 0
        #: What came behind the request under way.
        self._waiting = b""
        self._begin()

    def _begin(self) -> None:
        """Expect the first byte of a request."""
        self._raw = b""
        self._headers.clear()
        self._wholes = 0

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is one by what it does, not by its class.
        self.transport = cast("asyncio.Transport", transport)
        if not self._manager.opened(self):
            self.transport.abort()
            return
        name = transport.get_extra_info("peername")
        if name is None:
            # Reset before it was accepted. Without the caller's address a repeat under the same
            # idempotency key would be another event, and no limit of addresses would hold.
            self.transport.abort()
            return
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
        if self._framing and self._handler is not None:
            if not self.is_busy:
                self._await_head()
            for part in self._framing.follow(data):
                self._handler.data_received(part)
        elif self.is_busy:
            self._waiting += data
            if len(self._waiting) > _WAITING_BYTES and self.transport is not None:
                self.transport.pause_reading()
        else:
            self._feed(data)

    @override
    def eof_received(self) -> None:
        if self._framing and self._handler is not None:
            self._handler.eof_received()

    @override
    def pause_writing(self) -> None:
        self._manager.awaits_reader(self)
        if self._handler is not None:
            self._handler.pause_writing()
        if not self._framing and self.transport is not None:
            self.transport.pause_reading()

    @override
    def resume_writing(self) -> None:
        self._manager.has_reader(self)
        if self._handler is not None:
            self._handler.resume_writing()
        if not self._framing and self.transport is not None:
            self.transport.resume_reading()

    def on_message_complete(self) -> None:
        self._wholes += 1

    def _feed(self, data: bytes) -> None:
        self._raw = self._raw + data if self._raw else data
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self._leave()
            return
        if self._wholes:
            self._answer_whole()
        elif END in self._raw:
            self._await_body()
        elif len(self._raw) > _HEAD_BYTES:
            self._leave()
        else:
            self._await_head()

    def _answer_whole(self) -> None:
        raw = self._raw
        self.is_busy = True
        self.used_at = monotonic()
        if self.is_due:
            self.is_due = False
            self._manager.began(self)
        route = self._route()
        if route is not None:
            head = plain_head(raw, self._headers)
            if (
                head is not None
                and head.size <= _HEAD_BYTES
                and len(raw) - head.size <= BODY_BYTES
            ):
                self.is_answering = True
                if self._was_refused or len(raw) > LARGE:
                    self._wait(partial(self._answer, route, head), len(raw))
                else:
                    self._manager.turns.short += 1
                    route.answer(head, raw[head.size :], self._peer, self._write)
                return
        self._lend_whole()

    def _answer(self, route: Answering, head: Head) -> None:
        route.answer(head, self._raw[head.size :], self._peer, self._write)

    def _wait(self, act: Callable[[], None], size: int = 0) -> None:
        """Do what takes long in turn, unless the client is gone by then."""

        def begin() -> None:
            if self.transport is None:
                return
            try:
                act()
            except BaseException:
                self.abort()
                raise

        self._manager.turns.take(begin, size)

    def _route(self) -> Answering | None:
        """The route of a request whose head is read; None if it is not plain."""
        if not self._parser.should_keep_alive():
            return None
        line = self._raw[: self._raw.find(b"\r\n")]
        manager = self._manager
        return manager.routes.get(line) or manager.find(line, self._headers, self._peer)

    def _lend_whole(self) -> None:
        """Let aiohttp answer what came, and what follows unless it is one request."""
        size = self._raw.find(END) + len(END)
        is_one = self._wholes == 1 and len(self._raw) - size == body_length(self._raw)
        if is_one and Framing().follow(self._raw) == [self._raw]:
            self._wait(partial(self._lend, [self._raw]))
        else:
            self._leave()

    def _await_head(self) -> None:
        self.is_due = True
        self._manager.awaits_head(self)

    def _await_body(self) -> None:
        """Wait for the body if it will be answered here; aiohttp reads any other."""
        length = body_length(self._raw)
        if self._route() is None or length is None or length > BODY_BYTES:
            self._leave()
        else:
            self.is_due = True
            self._manager.awaits_body(self)

    def _write(self, answer: bytes) -> None:
        self.is_busy = self.is_answering = False
        self._was_refused = answer[_STATUS] == _REFUSED
        if self.transport is not None and not self.transport.is_closing():
            if self._manager.is_stopping and not self._waiting:
                answer = answer.replace(b"\r\n", _CLOSES, 1)
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

    def _lend(self, parts: list[bytes]) -> None:
        """Let aiohttp answer one whole request, or what only it can tell the end of."""
        if self._handler is None:
            self._handler = self._manager.lend(self)
        for part in parts:
            self._handler.data_received(part)

    def _leave(self) -> None:
        """Let aiohttp have this request and all that follow."""
        self._framing = Framing()
        raw, self._raw = self._raw, b""
        self._await_head()
        self._lend(self._framing.follow(raw))

    def abandon(self) -> None:
        """Let aiohttp have a request whose body does not come."""
        if not self._framing and not self.is_busy and END in self._raw:
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
        self._lent += 1
        self.is_busy = True
        self.used_at = monotonic()
        self.is_due = False
        self._manager.began(self)

    def aiohttp_ended(self) -> None:
        """Aiohttp has written its answer."""
        self._lent -= 1
        self.is_busy = self._lent > 0
        if not self._framing:
            self._begin()
            self._next()
        elif self._framing.has_begun and not self.is_busy:
            # Its head came behind the request that was answered.
            self._await_head()
