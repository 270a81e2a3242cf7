"""Traces of some requests: a span of the request, and one of its append to the stream.

A request is traced if its caller records a trace, or if it is the next that this edge draws.
Strangers send `traceparent` too, so each of both has a bound a second. A traced request takes
the same path as any other, with a sink of its own. Every other request passes as if there were
no traces.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from itertools import chain, count, repeat
from time import monotonic
from typing import Final
from uuid import UUID

from aiohttp import web
from typing_extensions import override

from ingest.contracts.telemetry import Bounded
from ingest.contracts.traces.context import is_sampled, with_context
from ingest.contracts.traces.export import SpanExport
from ingest.contracts.traces.otlp import Attribute, Kind
from ingest.contracts.traces.spans import Span, span_context
from ingest.contracts.variables import Tracing
from ingest.core.accept import Acceptor
from ingest.core.ports import Sink
from ingest.core.values import Overloaded
from ingest.dialects.spec.routes import Route
from ingest.http.fast_path import PlainRoute, PlainRoutes, Respond
from ingest.http.handlers import Handler
from ingest.http.head import Head

_SAY_SECONDS: Final = 60.0
_SERVER_ERRORS: Final = 500
#: Where the status stands in an answer: behind `HTTP/1.1 `.
_STATUS: Final = slice(9, 12)


class _Budget:
    """So many a second."""

    def __init__(self, per_second: int, clock: Callable[[], float]) -> None:
        self._per_second = per_second
        self._clock = clock
        self._second = -1
        self._left = 0

    def take(self) -> bool:
        second = int(self._clock())
        if second != self._second:
            self._second, self._left = second, self._per_second
        self._left -= 1
        return self._left >= 0


def _draws(one_in: int) -> Iterator[bool]:
    """Whether each request is drawn, in C: all requests pay for it."""
    if not one_in:
        return repeat(False)  # noqa: FBT003 -- repeat's
    return chain.from_iterable(
        chain(repeat(False, one_in - 1), (True,))  # noqa: FBT003 -- likewise
        for _ in count()
    )


class EdgeTraces:
    """Decides which requests of an edge are traced."""

    def __init__(
        self, tracing: Tracing, clock: Callable[[], float] = monotonic
    ) -> None:
        """`clock` is in seconds."""
        self._export = SpanExport("reftide-edge")
        #: Whether the next request without a `traceparent` is drawn.
        self.draws = _draws(tracing.one_in).__next__
        self._asked = _Budget(tracing.per_second, clock)
        self._drawn = _Budget(tracing.per_second, clock)
        self._beyond = Bounded("trace.limited", clock, _SAY_SECONDS)

    def begin(self, route: str, traceparent: str | None) -> "RequestTrace | None":
        """The trace of a request to `route` that asks for one or was drawn; None: it has none."""
        if traceparent is not None and not is_sampled(traceparent):
            return None
        budget = self._drawn if traceparent is None else self._asked
        if not budget.take():
            self._beyond.warning(route=route)
            return None
        parent = None if traceparent is None else span_context(traceparent)
        span = Span(self._export.send, route, Kind.SERVER, parent)
        return RequestTrace(span, route)

    def plain(self, routes: Mapping[bytes, PlainRoute]) -> PlainRoutes:
        """The same routes, some of whose requests are traced."""
        return {line: _TracedRoute(route, self) for line, route in routes.items()}

    def handler(
        self, route: Route, acceptor: Acceptor, make: Callable[[Acceptor], Handler]
    ) -> Handler:
        """A handler of what aiohttp answers; `make` makes it for an acceptor."""
        untraced, name = make(acceptor), _name(route)

        async def handle(request: web.Request) -> web.StreamResponse:
            traceparent = request.headers.get("traceparent")
            trace = None
            if traceparent is not None or self.draws():
                trace = self.begin(name, traceparent)
            if trace is None:
                return await untraced(request)
            try:
                answer = await make(trace.acceptor(acceptor))(request)
            except BaseException as error:
                trace.fail(error)
                raise
            trace.end(answer.status)
            return answer

        return handle

    async def exporting(self, _: web.Application) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(self._export.close)


class _TracedRoute:
    """A plain route some of whose requests are traced."""

    def __init__(self, route: PlainRoute, traces: EdgeTraces) -> None:
        self._route = route
        self._answer = route.answer
        self._name = _name(route.route)
        self._traces = traces
        self._draws = traces.draws
        #: Copies that no request is using: to make one takes longer than all else of a trace.
        self._idle: list[tuple[PlainRoute, _TracedSink]] = []

    def answer(
        self, head: Head, body: bytes, peer: str | None, respond: Respond
    ) -> None:
        trace = None
        if "traceparent" in head.names or self._draws():
            trace = self._traces.begin(self._name, head.get("traceparent"))
        if trace is None:
            self._answer(head, body, peer, respond)
            return
        route, sink = self._idle.pop() if self._idle else self._copy()
        sink.begin(trace.span)

        def ended(answer: bytes) -> None:
            trace.end(int(answer[_STATUS]))
            self._idle.append((route, sink))
            respond(answer)

        route.answer(head, body, peer, ended)

    def _copy(self) -> tuple[PlainRoute, "_TracedSink"]:
        """The same route, whose appends a sink of its own traces."""
        acceptor = self._route.acceptor
        sink = _TracedSink(acceptor.sink)
        return replace(self._route, acceptor=replace(acceptor, sink=sink)), sink


class RequestTrace:
    """The spans of one request."""

    __slots__ = ("_route", "span")

    def __init__(self, span: Span, route: str) -> None:
        self.span = span
        self._route = route

    def acceptor(self, acceptor: Acceptor) -> Acceptor:
        """The same, for this request: what it appends carries the trace."""
        sink = _TracedSink(acceptor.sink)
        sink.begin(self.span)
        return replace(acceptor, sink=sink)

    def end(self, status: int) -> None:
        self.span.end(_answered(self._route, status), failed=status >= _SERVER_ERRORS)

    def fail(self, error: BaseException) -> None:
        self.span.end(_answered(self._route), error=error)


class _TracedSink(Sink):
    """The sink of traced requests, one after the other."""

    #: Of the present request.
    _request: Span

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        #: Of what the stream was offered.
        self._offered: Span | None = None

    def begin(self, request: Span) -> None:
        """Trace this request, which is the only one until it is answered."""
        self._request, self._offered = request, None

    @override
    def admit(self) -> None:
        self._sink.admit()

    @override
    def offer(
        self, event_id: bytes, payload: bytes, settled: Callable[[str | None], None]
    ) -> bool:
        span = self._offered = self._append()

        def ended(problem: str | None) -> None:
            if problem is None:
                span.end(_about(event_id))
            settled(problem)

        return self._sink.offer(
            event_id, with_context(payload, span.traceparent), ended
        )

    @override
    async def keep(self, event_id: UUID, payload: bytes, why: str | None) -> None:
        with self._appending(event_id, span=self._offered) as context:
            await self._sink.keep(event_id, with_context(payload, context), why)

    @override
    async def append(self, event_id: UUID, payload: bytes) -> None:
        with self._appending(event_id) as context:
            await self._sink.append(event_id, with_context(payload, context))

    @override
    async def append_together(
        self, events: Sequence[tuple[UUID, bytes]]
    ) -> Sequence[Overloaded | None]:
        with self._appending(*(event_id for event_id, _ in events)) as context:
            return await self._sink.append_together(
                [(each, with_context(payload, context)) for each, payload in events]
            )

    def _append(self) -> Span:
        return self._request.within("append", Kind.PRODUCER)

    @contextmanager
    def _appending(self, *events: UUID, span: Span | None = None) -> Iterator[str]:
        """The span of an append, until it is durable or not; its context."""
        about = _about(*(event.bytes for event in events))
        span = span or self._append()
        try:
            yield span.traceparent
        except BaseException as error:
            span.end(about, error=error)
            raise
        span.end(about)


@lru_cache
def _answered(route: str, status: int | None = None) -> Mapping[str, Attribute]:
    """What is said of a request to a route; None: it was not answered."""
    method, _, path = route.partition(" ")
    about: Mapping[str, Attribute] = {"http.request.method": method, "http.route": path}
    return about if status is None else {**about, "http.response.status_code": status}


def _about(*events: bytes) -> Mapping[str, Attribute]:
    return {"reftide.event_ids": events}


def _name(route: Route) -> str:
    return f"{route.method} {route.path}"
