"""The edge's HTTP server: how many connections there may be, and how long each may take.

The HTTP parsers bound sizes (a line 8190 bytes, 128 headers) and the handlers bound bodies.
What is left is here: time and number. Nothing of it is logged, since any client can cause
it as often as it likes. It is counted.
"""

import asyncio
import resource
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from operator import attrgetter
from time import monotonic
from typing import Any, Final

from aiohttp import hdrs, web

from ingest.contracts.metrics.edge import REFUSED
from ingest.http.aiohttp_handler import AiohttpHandler
from ingest.http.connection import Connection
from ingest.http.driver import TURNS, Turns
from ingest.http.fast_path import FIND, PLAIN, Find, PlainRoutes

#: File descriptors that connections leave to Redis, the spool and the log.
_SPARED: Final = 128
_LEAST: Final = 64
#: Connections that the kernel holds until they are accepted; it may hold fewer.
_BACKLOG: Final = 2048
#: Deadlines are looked at so many times within the shortest of them.
_LOOKS: Final = 8


def room() -> int:
    """How many connections the process may hold: what `ulimit -n` leaves of it."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return sys.maxsize
    return max(_LEAST, soft - _SPARED)


class CannotListen(Exception):
    """The address is taken, or is none of this machine's. The message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How long a client may take, in seconds, and how many connections there may be."""

    #: From the first byte of a request's head to its last, and from a connection to its
    #: first request.
    head: float = 10.0
    #: From a head to its whole body, before aiohttp waits for it in its own time.
    body: float = 1.0
    #: Between two requests; longer than proxies keep a connection.
    idle: float = 75.0
    #: For taking an answer that does not fit into the buffers.
    take: float = 10.0
    #: For sending what is left of a body that was refused.
    linger: float = 2.0
    #: For requests under way when the edge stops, and again when they are cancelled.
    drain: float = 2.0
    most: int


class _Deadlines:
    """Connections that have so many seconds each, those that began first in front."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: dict[Connection, float] = {}

    def begin(self, connection: Connection, now: float) -> None:
        """Give the connection its time, unless it has begun."""
        self._until.setdefault(connection, now + self._seconds)

    def end(self, connection: Connection) -> None:
        self._until.pop(connection, None)

    def expire(self, now: float) -> list[Connection]:
        """Take out the connections whose time is over."""
        over = list(takewhile(lambda each: self._until[each] <= now, self._until))
        for connection in over:
            del self._until[connection]
        return over


class EdgeServer:
    """Serves an application: plain requests by its own connections, the rest by aiohttp."""

    def __init__(self, app: web.Application, bounds: Bounds) -> None:
        self.routes: PlainRoutes = app.get(PLAIN, {})
        self.find: Find = app.get(FIND, lambda *_: None)
        self.turns = app.get(TURNS) or Turns()
        self.is_stopping = False
        app.on_response_prepare.append(self._say_whether_it_closes)
        self._bounds = bounds
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=bounds.drain
        )
        self._open: set[Connection] = set()
        self._heads = _Deadlines(bounds.head)
        self._bodies = _Deadlines(bounds.body)
        self._readers = _Deadlines(bounds.take)
        self._listener: asyncio.Server | None = None
        self._sweep: asyncio.TimerHandle | None = None
        #: Set when no request is under way any more; None: nobody waits for that.
        self._drained: asyncio.Event | None = None

    async def start(
        self, host: str, port: int, listener: socket.socket | None = None
    ) -> None:
        """Start the application and listen. Raises CannotListen.

        A `listener` that somebody else keeps open takes connections before and after this
        edge; then there is no other host and port.
        """
        await self._runner.setup()
        self._look()
        loop = asyncio.get_running_loop()
        where: dict[str, Any] = {"host": host, "port": port, "reuse_port": True}
        try:
            self._listener = await loop.create_server(
                lambda: Connection(self),
                backlog=_BACKLOG,
                **({"sock": listener} if listener else where),
            )
        except OSError as error:
            raise CannotListen(
                f"cannot listen on {host} port {port}: {error.strerror or error}. Stop what"
                " uses it, or choose another with REFTIDE_HOST and REFTIDE_PORT"
            ) from error

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens. Raises RuntimeError before it does."""
        if self._listener is None:
            raise RuntimeError("the server does not listen")
        host, port = self._listener.sockets[0].getsockname()[:2]
        return host, port

    async def send_away(self, seconds: float) -> None:
        """Answer for so long, new connections too; each is closed with its next answer."""
        self.is_stopping = True
        await asyncio.sleep(seconds)

    async def stop(self) -> None:
        """Answer what has begun to come, cut off the rest, stop the application."""
        self.is_stopping = True
        if self._listener is not None:
            self._listener.close()
        for connection in list(self._open):
            if not connection.is_busy and not connection.is_due:
                connection.close()
        # Whatever waits for its turn has it by then.
        await self.turns.turn(0)
        await self._drain()
        if self._sweep is not None:
            self._sweep.cancel()
        await self._runner.cleanup()
        for connection in list(self._open):
            connection.abort()

    async def _drain(self) -> None:
        """Wait until the requests under way are answered, or their time is over."""
        self._drained = asyncio.Event()
        self._look_whether_drained()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._bounds.drain):
                await self._drained.wait()

    def _look_whether_drained(self) -> None:
        if self._drained is not None and not any(
            each.is_answering or each.is_due for each in self._open
        ):
            self._drained.set()

    async def _say_whether_it_closes(
        self, _: web.Request, response: web.StreamResponse
    ) -> None:
        if self.is_stopping:
            response.force_close()
            response.headers[hdrs.CONNECTION] = "close"

    def opened(self, connection: Connection) -> bool:
        if len(self._open) >= self._bounds.most:
            idle = [each for each in self._open if not each.is_busy]
            if not idle:
                REFUSED.labels("none", "no_room").inc()
                return False
            oldest = min(idle, key=attrgetter("used_at"))
            self.closed(oldest)
            oldest.close()
        self._open.add(connection)
        connection.used_at = monotonic()
        return True

    def closed(self, connection: Connection) -> None:
        self._open.discard(connection)
        for deadlines in (self._heads, self._bodies, self._readers):
            deadlines.end(connection)
        self._look_whether_drained()

    def began(self, connection: Connection) -> None:
        self._heads.end(connection)
        self._bodies.end(connection)

    def awaits_head(self, connection: Connection) -> None:
        self._heads.begin(connection, monotonic())

    def awaits_body(self, connection: Connection) -> None:
        self._heads.end(connection)
        self._bodies.begin(connection, monotonic())

    def awaits_reader(self, connection: Connection) -> None:
        self._readers.begin(connection, monotonic())

    def has_reader(self, connection: Connection) -> None:
        self._readers.end(connection)

    def lend(self, connection: Connection) -> AiohttpHandler:
        """An aiohttp handler on a connection's transport."""
        server, transport = self._runner.server, connection.transport
        if server is None or transport is None:
            raise RuntimeError("the server or the connection is closed")
        handler = AiohttpHandler(server, connection, self._bounds.linger)
        handler.connection_made(transport)
        return handler

    def _look(self) -> None:
        """Cut off the connections whose time is over; look again soon."""
        bounds, now = self._bounds, monotonic()
        for connection in self._heads.expire(now):
            connection.close()
        for connection in self._bodies.expire(now):
            connection.abandon()
        for connection in self._readers.expire(now):
            connection.abort()
        for connection in self._open:
            if not connection.is_busy and connection.used_at <= now - bounds.idle:
                connection.close()
        shortest = min(bounds.head, bounds.body, bounds.idle, bounds.take)
        loop = asyncio.get_running_loop()
        self._sweep = loop.call_later(shortest / _LOOKS, self._look)
