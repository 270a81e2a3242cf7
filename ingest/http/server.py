"""The door: what may happen on a connection before and beside requests. Used by `app`.

The HTTP server bounds sizes (a line 8190 bytes, 128 headers) and the handlers bound bodies.
What is left is here: time, number, and answering in JSON what never became a request. Of
that nothing is logged: anybody can cause it, as often as they like. It is counted.
"""

import asyncio
import resource
import sys
from dataclasses import dataclass
from typing import Any, Final

import orjson
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from typing_extensions import override

from ingest.contracts.metrics.edge import REFUSED
from ingest.contracts.telemetry import Log
from ingest.http.connection import Connection
from ingest.http.fast_path import PLAIN, PlainRoutes
from ingest.http.handlers import SERVER

#: File descriptors that connections leave to Redis, the spool and the log.
_SPARED: Final = 128
_LEAST: Final = 64

#: What a caller can make go wrong at any time, so that it is no bug of ours.
_CALLERS: Final = (HttpProcessingError, web.RequestPayloadError, ConnectionError)


def room() -> int:
    """How many connections the process may hold: what `ulimit -n` leaves of it."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return sys.maxsize
    return max(_LEAST, soft - _SPARED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How long a caller may take, in seconds, and how many there may be."""

    #: From the first byte of a request's head to its last, and from a connection to its
    #: first request.
    head: float = 10.0
    #: Between two requests; longer than proxies keep a connection.
    idle: float = 75.0
    #: For taking an answer that does not fit into the buffers.
    take: float = 10.0
    #: For sending what is left of a body that was refused.
    linger: float = 2.0
    #: For requests under way when the edge stops, and again when they are cancelled.
    drain: float = 2.0
    most: int


class Runner(web.AppRunner):
    """Runs an application behind the door."""

    def __init__(self, app: web.Application, bounds: Bounds) -> None:
        super().__init__(app, shutdown_timeout=bounds.drain)
        self._bounds = bounds

    @override
    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        door = _Door(
            made.request_handler,
            request_factory=made.request_factory,
            bounds=self._bounds,
        )
        door.plain = self.app.get(PLAIN, {})
        return door


class _Door(web.Server):
    """Makes a connection of each caller, as long as there is room."""

    def __init__(self, handler: Any, *, request_factory: Any, bounds: Bounds) -> None:
        super().__init__(handler, request_factory=request_factory)
        self.bounds = bounds
        self.plain: PlainRoutes = {}
        #: Who has come in; who used his connection longest ago is first.
        self.inside: dict[_Caller, None] = {}

    @override
    def __call__(self) -> "_Caller":
        return _Caller(self)

    def has_room(self) -> bool:
        """Whether another may come in, if need be for one who asks for nothing."""
        if len(self.inside) < self.bounds.most:
            return True
        idle = next((each for each in self.inside if each.is_idle), None)
        if idle is not None:
            idle.force_close()
            self.inside.pop(idle)
        return idle is not None


class _Caller(Connection):
    """One caller's connection, and how long he may take."""

    __slots__ = ("_door", "_head_timer", "_take_timer")

    def __init__(self, door: _Door) -> None:
        super().__init__(
            door,
            door.plain,
            access_log=None,
            auto_decompress=False,  # a bomb would go off before it could be refused
            keepalive_timeout=door.bounds.idle,
            lingering_time=door.bounds.linger,
        )
        self._door = door
        self._head_timer: asyncio.TimerHandle | None = None
        self._take_timer: asyncio.TimerHandle | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no request of it is under way, though one may be half sent."""
        return self._waiter is not None and not self._waiter.done()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not self._door.has_room():
            REFUSED.labels("none", "no_room").inc()
            transport.abort()  # type: ignore[attr-defined]  # it is one of TCP
            return
        self._door.inside[self] = None
        super().connection_made(transport)
        self._await_head()

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        self._door.inside.pop(self, None)
        self._cancel()
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.is_idle:
            self._await_head()
        elif self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self._take_timer = self._loop.call_later(self._door.bounds.take, self._cut)

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        if self._take_timer:
            self._take_timer.cancel()

    @override
    async def finish_response(
        self,
        request: web.BaseRequest,
        resp: web.StreamResponse,
        start_time: float | None,
    ) -> tuple[web.StreamResponse, bool]:
        if isinstance(resp, web.HTTPException):
            resp = _refused(resp.status, "request_malformed")
        self.was_used()
        # The server's own says which versions of which software it is.
        resp.headers.setdefault("Server", SERVER)
        return await super().finish_response(request, resp, start_time)

    @override
    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        if isinstance(exc, HttpProcessingError):
            return _refused(status, "request_malformed")
        self.log_exception(exc_info=exc)
        return _refused(status, "failed")

    @override
    def log_exception(self, *args: Any, **kw: Any) -> None:
        if not isinstance(kw.get("exc_info"), _CALLERS):
            Log().error("edge.failed", exc_info=kw.get("exc_info"))

    @override
    def was_used(self) -> None:
        if self in self._door.inside:
            self._door.inside[self] = self._door.inside.pop(self)

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self._loop.call_later(
                self._door.bounds.head, self._close_if_idle
            )

    def _close_if_idle(self) -> None:
        self._head_timer = None
        if self.is_idle:
            self.force_close()

    def _cut(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def _cancel(self) -> None:
        for timer in (self._head_timer, self._take_timer):
            if timer:
                timer.cancel()


def _refused(status: int, code: str) -> web.Response:
    REFUSED.labels("none", code).inc()
    answer = web.Response(
        status=status,
        body=orjson.dumps({"error": code}),
        content_type="application/json",
    )
    answer.force_close()
    return answer
