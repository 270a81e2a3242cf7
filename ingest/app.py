"""The composition root of the edge: what there is, in which order it starts and stops."""

import asyncio
import gc
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from aiohttp import web
from uuid_utils import uuid7

from ingest.bulk.handler import batching
from ingest.bulk.process import BulkProcessor
from ingest.contracts.clickid import KeyRing
from ingest.contracts.generated_codes import generation_key
from ingest.contracts.metrics.build import version
from ingest.contracts.telemetry import Log
from ingest.contracts.traces.extra import is_installed
from ingest.contracts.variables import Tracing
from ingest.core.accept import Acceptor
from ingest.core.authorize import Authorizer
from ingest.core.clicks import Clicks
from ingest.core.client_ip import Proxies
from ingest.core.idempotency import Idempotency
from ingest.core.outcomes import Outcomes
from ingest.core.recent import MarkShares, Recent
from ingest.core.resolve import Resolver
from ingest.core.seal import visitor_key
from ingest.core.values import MintedId
from ingest.core.visitors import Visitors
from ingest.dependencies import (
    DRAIN_SECONDS,
    Dependencies,
    EdgeState,
    build_dependencies,
)
from ingest.dialects import DIALECTS
from ingest.dialects.batch import BATCH, ROUTE
from ingest.dialects.spec.routes import Dialect, Route
from ingest.durable.edge_clock import EdgeClock, unix_ms
from ingest.http.admin import administered, show_keepers, show_look_ups
from ingest.http.docs import Docs
from ingest.http.driver import TURNS, Turns
from ingest.http.fast_path import PLAIN, plain_routes
from ingest.http.handlers import (
    BODY_BYTES,
    Callers,
    Handler,
    accepting,
    go_on,
    preflight,
)
from ingest.http.health import Health
from ingest.http.middleware import in_words_of
from ingest.http.request_metrics import measured
from ingest.http.server import Bounds, CannotListen, EdgeServer, room
from ingest.http.site import tracker_scripts, well_known
from ingest.http.site.try_it import TryIt
from ingest.redirect.redirects import Redirects
from ingest.redirect.serving import Serving, add_redirects
from ingest.settings import EdgeSettings
from ingest.startup_check import StartupCheck

if TYPE_CHECKING:
    from ingest.http.traces import EdgeTraces

#: Objects more than before it is looked for: requests leave next to none in cycles.
_GARBAGE: Final = (5_000, 20, 20)

HEALTH: Final = web.AppKey("health", Health)


@dataclass(frozen=True, slots=True, kw_only=True)
class Externals:
    """What an edge takes from outside, so that tests can bring their own."""

    dialects: Sequence[Dialect] = DIALECTS
    clock: Callable[[], int] = unix_ms
    new_id: Callable[[], MintedId] = uuid7


def build(settings: EdgeSettings, world: Externals) -> web.Application:
    """The edge's application; nothing is connected before it starts.

    Stopping is starting backwards: the sink first, because answers wait for it, and the
    connections last, because everything else speaks through them.
    """
    clock = EdgeClock(world.clock, world.new_id)
    ports = build_dependencies(settings, clock)
    app = web.Application(
        client_max_size=BODY_BYTES,
        middlewares=[measured, in_words_of([*world.dialects, BATCH])],
    )
    check = StartupCheck(ports.clients[-1], settings, world.clock)
    app[HEALTH] = Health(
        ports.clients[0], ports.servers, ports.sink, lambda: check.refusal
    )
    proxies = Proxies(settings.trusted_proxies)
    traces = _traces(app, settings.tracing)
    acceptor = _acceptor(settings, clock, ports)
    callers = Callers(proxies, acceptor.authorizer)
    redirects = Redirects(acceptor=acceptor, directory=ports.directory)
    add_redirects(app, Serving(redirects, callers), traces)
    app.add_routes(app[HEALTH].routes())
    app.add_routes(Docs(world.dialects, version()).routes())
    app.add_routes([*tracker_scripts.routes()])
    trying = TryIt(ports.directory, ports.limiter, settings.secrets)
    app.add_routes([*trying.routes()])
    app.add_routes([*well_known.routes(settings.well_known)])
    _add_endpoints(app, acceptor, callers, world.dialects, traces)
    state = EdgeState(ports, clock, settings.shards_at_home, proxies)
    parts = (ports.connections, ports.look_ups, state.watched, ports.appends)
    app.cleanup_ctx.extend(parts)
    _add_sights(app, settings, check, ports, state)
    return app


def _add_sights(
    app: web.Application,
    settings: EdgeSettings,
    check: StartupCheck,
    ports: Dependencies,
    state: EdgeState,
) -> None:
    """What operators look at: first to start and last to stop, but for the check."""
    show_keepers(ports.sink, ports.spool, settings.spooling.most_bytes)
    show_look_ups(ports.directory, ports.claims, ports.limiter)
    app.cleanup_ctx.insert(0, administered(settings.admin, app[HEALTH], state.status))
    app.cleanup_ctx.append(check.beside)


def _acceptor(
    settings: EdgeSettings, clock: EdgeClock, ports: Dependencies
) -> Acceptor:
    secret, keys = settings.secrets[0], KeyRing(settings.secrets)
    recent = Recent(ports.claims)
    clicks = Clicks(ports.directory, recent, keys)
    code_key = generation_key(secret)
    resolver = Resolver(ports.directory, recent, clicks, code_key, ports.unknown_codes)
    visiting = visitor_key(secret)
    return Acceptor(
        authorizer=Authorizer(ports.directory, ports.limiter, settings.secrets),
        resolver=resolver,
        visitors=Visitors(claims=ports.claims, resolver=resolver, visitor_key=visiting),
        outcomes=Outcomes(resolver=resolver, keys=keys),
        idempotency=Idempotency(claims=ports.claims, keys=keys),
        sink=ports.sink,
        store_ip=settings.store_ip,
        store_email=settings.store_email,
        gpc=settings.gpc,
        clock=clock,
        log=Log(),
        shares=MarkShares(lambda: ports.degradation.is_filling),
    )


def _add_endpoints(
    app: web.Application,
    acceptor: Acceptor,
    callers: Callers,
    dialects: Sequence[Dialect],
    traces: "EdgeTraces | None",
) -> None:
    plain = plain_routes(acceptor, dialects, callers.proxies)
    app[PLAIN] = plain if traces is None else traces.plain(plain)
    turns = app[TURNS] = Turns()
    judge = BulkProcessor(acceptor, dialects, turns)

    def handler(route: Route, make: Callable[[Acceptor], Handler]) -> Handler:
        if traces is None:
            return make(acceptor)
        return traces.handler(route, acceptor, make)

    handle = handler(ROUTE, lambda given: batching(judge.using(given), callers))
    app.router.add_post(ROUTE.path, handle, expect_handler=go_on)
    for dialect in dialects:
        for endpoint in dialect.endpoints:
            make = partial(accepting, dialect=dialect, route=endpoint, callers=callers)
            handle = handler(endpoint, make)
            # By itself the router takes no braces in a value, and codes may have them.
            path = endpoint.path.replace("}", ":[^/]+}")
            app.router.add_route(endpoint.method, path, handle, expect_handler=go_on)
            if endpoint.from_browsers:
                app.router.add_route("OPTIONS", path, preflight(endpoint))


def _traces(app: web.Application, tracing: Tracing | None) -> "EdgeTraces | None":
    """What traces requests; without it, the libraries of the extra are not needed."""
    if tracing is None or not is_installed():
        return None
    from ingest.http.traces import EdgeTraces  # noqa: PLC0415 -- where it is asked for

    traces = EdgeTraces(tracing)
    app.cleanup_ctx.append(traces.exporting)
    return traces


async def serve(settings: EdgeSettings, world: Externals, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then finish what is under way.

    Raises ShardCountMismatch where the installation has another number of shards,
    CannotListen.
    """
    log, app = Log(), build(settings, world)
    server = EdgeServer(app, Bounds(drain=DRAIN_SECONDS, most=room()))
    try:
        await server.start(settings.host, settings.port, _listener(settings))
        host, port = server.address
        log.info(
            "edge.started", host=host, port=port, shards=len(settings.layout.numbers)
        )
        _keep_what_is_there()
        await stop.wait()
        app[HEALTH].is_draining = True
        await server.send_away(settings.drain_seconds)
    finally:
        await server.stop()
    log.info("edge.stopped")


def _listener(settings: EdgeSettings) -> socket.socket | None:
    """Raises CannotListen."""
    if settings.listener is None:
        return None
    try:
        return socket.socket(fileno=settings.listener)
    except OSError as error:
        raise CannotListen(
            f"descriptor {settings.listener} is no socket: {error.strerror or error}."
            " Check what sets LISTEN_FDS and LISTEN_PID"
        ) from error


def _keep_what_is_there() -> None:
    """Look for garbage among what requests leave only, and not after every few of them."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GARBAGE)


def run(settings: EdgeSettings) -> None:
    """Serve until SIGTERM or SIGINT."""
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if find_spec("uvloop"):
        loop_factory = import_module("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(_serve_until_told(settings))


async def _serve_until_told(settings: EdgeSettings) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(settings, Externals(), stop)
