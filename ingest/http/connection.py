"""One HTTP connection: a request after the other, each answered in the shortest way.

Used by `door`, which adds what callers may not do. Plain requests are answered at once;
all others are handed to the framework, whose own protocol this is but for `start`.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from aiohttp import web
from aiohttp.http import RawRequestMessage, StreamWriter
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import ERROR
from typing_extensions import override

from ingest.http.fast_path import PlainRoute, PlainRoutes, is_plain


class Connection(web.RequestHandler):
    """Speaks HTTP/1.1 with one caller."""

    __slots__ = ("_peer", "_plain")

    def __init__(self, server: web.Server, plain: PlainRoutes, **options: Any) -> None:
        """`options` are those of the framework's protocol."""
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self._plain = plain
        self._peer: str | None = None

    def was_used(self) -> None:
        """Called before every answer."""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        name = transport.get_extra_info("peername")
        self._peer = str(name[0]) if isinstance(name, tuple) else None
        super().connection_made(transport)

    @override
    async def start(self) -> None:
        """Answer one request after the other, as long as the connection goes on."""
        goes_on = True
        while goes_on and not self._force_close:
            if not self._messages:
                await self._wait()
            message, body = self._next()
            try:
                goes_on = await self._answer(message, body) and not self._close
            except asyncio.CancelledError:
                self.force_close()
                raise
            except Exception as error:  # noqa: BLE001 -- it is logged
                self.log_exception(exc_info=error)
                self.force_close()
                break
            self._next_keepalive_close_time = (
                self._loop.time() + self._keepalive_timeout
            )
            if goes_on and self._keepalive_handle is None:
                self._keepalive_handle = self._loop.call_at(
                    self._next_keepalive_close_time, self._process_keepalive
                )
        if not self._force_close:
            self._task_handler = None
            if self.transport is not None:
                self.transport.close()

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _next(self) -> tuple[Any, StreamReader]:
        """The head of the next request, or what is wrong with it, and its body."""
        message = self._messages.popleft()
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()
        return message

    def _answer(self, message: Any, body: StreamReader) -> Coroutine[Any, Any, bool]:
        """Whether the connection goes on."""
        if not isinstance(message, RawRequestMessage):
            return self._answer_any(self._make_error_handler(message), ERROR, body)
        route = self._plain.get((message.method, message.path))
        if route is not None and is_plain(message, body):
            return self._answer_plain(route, message, body)
        return self._answer_any(self._request_handler, message, body)

    async def _answer_plain(
        self, route: PlainRoute, message: RawRequestMessage, body: StreamReader
    ) -> bool:
        self._request_in_progress = True
        try:
            answer = await route.answer(message, self._whole(body), self._peer)
        finally:
            self._request_in_progress = False
            if self._handler_waiter is not None:
                self._handler_waiter.set_result(None)
        if self.transport is None:
            return False
        self.was_used()
        self.transport.write(answer)
        if self._paused:
            await self._drain_helper()
        return True

    def _whole(self, body: StreamReader) -> bytes:
        # To read it as one reads any body has the connection look for more of it.
        if body is EMPTY_PAYLOAD or self._reading_paused:
            return body.read_nowait()
        return b"".join(body._buffer)  # noqa: SLF001 -- there is no other way to it

    async def _answer_any(
        self, handler: Any, message: RawRequestMessage, body: StreamReader
    ) -> bool:
        """As the framework's own protocol does, whose method this one replaces."""
        writer = StreamWriter(self, self._loop)
        own = self._task_handler or asyncio.current_task()
        make: Any = self._request_factory
        request = make(message, body, self, writer, own)
        # In a task of its own: what a handler sets in its context is gone with it.
        handling = self._handle_request(request, None, handler)
        try:
            response, is_gone = await self._loop.create_task(handling)
        except ConnectionError:
            return False
        finally:
            request._task = None  # noqa: SLF001 -- as the framework: no cycles
        if is_gone:
            return False
        await self._linger(body)
        return bool(response.keep_alive)

    async def _linger(self, body: StreamReader) -> None:
        """Let the caller send what is left of the body, or else close the connection."""
        if not self._force_close:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._lingering_time):
                    while not body.is_eof():
                        await body.readany()
            if not body.is_eof():
                self.close()
