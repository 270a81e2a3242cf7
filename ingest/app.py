"""The composition root of the edge: what there is, in which order it starts and stops.

Used by `__main__` and by tests.
"""

import asyncio
import gc
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Final
from uuid import UUID

from aiohttp import web
from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from ingest.accept import Acceptor
from ingest.admin import administered, show_keepers, show_look_ups
from ingest.batch.handler import batching
from ingest.batch.judging import Judge
from ingest.cache import snapshot_of
from ingest.claims import Claims
from ingest.clicks import Clicks
from ingest.contracts.clickid import KeyRing
from ingest.contracts.telemetry import Log
from ingest.dialects import DIALECTS
from ingest.dialects.batch import BATCH, ROUTE
from ingest.dialects.spec import Dialect
from ingest.directory import Directory
from ingest.docs import Docs
from ingest.door import Bounds, Runner, room
from ingest.drain import Drainer
from ingest.gate import Gate
from ingest.generated import generation_key
from ingest.handlers import BODY_BYTES, accepting, preflight
from ingest.health import Health, version
from ingest.ladder import Ladder
from ingest.limits.limiter import Limiter
from ingest.measuring import measured
from ingest.middleware import in_words_of
from ingest.outcomes import Outcomes
from ingest.plain import PLAIN, plain_routes
from ingest.proxies import Proxies
from ingest.recent import Recent
from ingest.repeats import Repeats
from ingest.resolve import Resolver
from ingest.seal import visitor_key
from ingest.selfcheck import selfchecked
from ingest.settings import Settings
from ingest.sink import Sink
from ingest.spool.home import Home, spool_of
from ingest.spool.spool import Spool
from ingest.spool.store import Damaged
from ingest.stream import Stream, Untaken
from ingest.visits import Visits
from ingest.watch import Watch
from ingest.wire import Breaker, connect

_CONNECTIONS: Final = 16
#: Longer than a reader of changes blocks.
_CHANGES_SECONDS: Final = 1.0

#: The server waits for requests under way for twice this, then the sink once.
_DRAIN_SECONDS: Final = 2.0

#: Objects more than before it is looked for: requests leave next to none in cycles.
_GARBAGE: Final = (50_000, 20, 20)

HEALTH: Final = web.AppKey("health", Health)


def unix_ms() -> int:
    """The wall clock, Unix milliseconds."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What an edge takes from outside, so that tests can bring their own."""

    dialects: Sequence[Dialect] = DIALECTS
    clock: Callable[[], int] = unix_ms
    new_id: Callable[[], UUID] = uuid7


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ports:
    """Everything that speaks to Redis or keeps events, and how it starts and stops."""

    clients: Sequence[Redis]
    stream: Stream
    spool: Spool
    sink: Sink
    drainer: Drainer
    watch: Watch
    claims: Claims
    limiter: Limiter
    directory: Directory

    async def connections(self, _: web.Application) -> AsyncIterator[None]:
        yield
        for client in self.clients:
            await client.aclose()

    async def look_ups(self, _: web.Application) -> AsyncIterator[None]:
        self.directory.start()
        self.claims.start()
        self.limiter.start()
        yield
        await self.directory.stop()
        await self.claims.stop()
        await self.limiter.stop()

    async def appends(self, _: web.Application) -> AsyncIterator[None]:
        with suppress(Untaken):  # asked again before the first append
            await self.stream.confirm_shards()
        self.spool.start()
        self.drainer.start()
        yield
        for stop in (self.drainer.stop, self.stream.drain, self.spool.stop):
            with suppress(TimeoutError):  # whoever still waits was never told 200
                async with asyncio.timeout(_DRAIN_SECONDS):
                    await stop()


def build(settings: Settings, world: World) -> web.Application:
    """The edge's application; nothing is connected before it starts.

    Stopping is starting backwards: the sink first, because answers wait for it, and the
    connections last, because everything else speaks through them.
    """
    ports = _open(settings, world)
    app = web.Application(
        client_max_size=BODY_BYTES,
        middlewares=[measured, in_words_of([*world.dialects, BATCH])],
    )
    app[HEALTH] = Health(ports.clients[0], settings.shards, ports.sink)
    app.add_routes(app[HEALTH].routes())
    app.add_routes(Docs(world.dialects, version()).routes())
    _add_endpoints(app, _acceptor(settings, world, ports), settings, world.dialects)
    watching = _watching(ports, settings, world)
    app.cleanup_ctx.extend((ports.connections, ports.look_ups, watching, ports.appends))
    _add_sights(app, settings, world, ports)
    return app


def _add_sights(
    app: web.Application, settings: Settings, world: World, ports: _Ports
) -> None:
    """What operators look at: first to start and last to stop, but for the check."""
    show_keepers(ports.sink, ports.spool, settings.spooling.most_bytes)
    show_look_ups(ports.directory, ports.claims, ports.limiter)
    app.cleanup_ctx.insert(0, administered(settings.admin, app[HEALTH]))
    check = selfchecked(ports.clients[0], settings, world.clock)
    app.cleanup_ctx.append(check)


def _open(settings: Settings, world: World) -> _Ports:
    url, spooling = settings.redis_url, settings.spooling
    reach, writes = Breaker(), Breaker()
    redis = connect(url, connections=_CONNECTIONS, breaker=reach)
    changes = connect(url, connections=1, answer_within=_CHANGES_SECONDS)
    probes = connect(url, connections=1)
    stream, ladder = Stream(redis, settings.shards, writes), Ladder(spooling)
    home = Home(spool_of(settings.data), _report)
    spool = Spool(home, most_bytes=spooling.most_bytes, clock=time.monotonic)
    sink = Sink(stream, spool, ladder, lambda: reach.problem or writes.problem)
    return _Ports(
        clients=(redis, changes, probes),
        stream=stream,
        spool=spool,
        sink=sink,
        drainer=Drainer(
            spool, stream, lambda: sink.standing.level, spooling.drain_rate
        ),
        watch=Watch(
            probes,
            reach=reach,
            writes=writes,
            ladder=ladder,
            appended=stream.appended,
        ),
        claims=Claims(redis),
        limiter=Limiter(redis, world.clock),
        directory=Directory(redis, changes, snapshot_of(settings.data)),
    )


def _report(damage: Damaged) -> None:
    Log().warning(
        "spool.damaged",
        segment=str(damage.segment),
        first=damage.start,
        bytes=damage.end - damage.start,
        aside=str(damage.aside),
    )


def _watching(
    ports: _Ports, settings: Settings, world: World
) -> Callable[[web.Application], AsyncIterator[None]]:
    name = f"{socket.gethostname()}-{os.getpid()}"
    since = world.clock()

    def told() -> Mapping[str, object]:
        level, why = ports.sink.standing
        return {
            "level": level,
            "why": why,
            "spool_bytes": ports.spool.bytes,
            # What an edge of the same name appended before it was started again is its own.
            "since": since,
            "appended": ports.stream.appended.told(),
        }

    async def watching(_: web.Application) -> AsyncIterator[None]:
        ports.watch.start(name, settings.shards, world.clock, told)
        yield
        await ports.watch.stop()

    return watching


def _acceptor(settings: Settings, world: World, ports: _Ports) -> Acceptor:
    secret, keys = settings.secrets[0], KeyRing(settings.secrets)
    recent = Recent(ports.claims)
    clicks = Clicks(ports.directory, recent, keys)
    resolver = Resolver(ports.directory, recent, clicks, generation_key(secret))
    visiting = visitor_key(secret)
    return Acceptor(
        gate=Gate(ports.directory, ports.limiter, settings.secrets),
        resolver=resolver,
        visits=Visits(claims=ports.claims, resolver=resolver, visitor_key=visiting),
        outcomes=Outcomes(resolver=resolver, keys=keys),
        repeats=Repeats(claims=ports.claims, keys=keys),
        sink=ports.sink,
        store_ip=settings.store_ip,
        clock=world.clock,
        new_id=world.new_id,
        log=Log(),
    )


def _add_endpoints(
    app: web.Application,
    acceptor: Acceptor,
    settings: Settings,
    dialects: Sequence[Dialect],
) -> None:
    proxies = Proxies(settings.trusted_proxies)
    app[PLAIN] = plain_routes(acceptor, dialects, proxies)
    judge = Judge(acceptor, dialects)
    app.router.add_post(ROUTE.path, batching(judge, proxies))
    for dialect in dialects:
        for endpoint in dialect.endpoints:
            handle = accepting(acceptor, dialect, endpoint, proxies)
            # By itself the router takes no braces in a value, and codes may have them.
            path = endpoint.path.replace("}", ":[^/]+}")
            app.router.add_route(endpoint.method, path, handle)
            if endpoint.from_browsers:
                app.router.add_route("OPTIONS", path, preflight(endpoint))


async def serve(settings: Settings, world: World, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then finish what is under way.

    Raises ShardsDiffer where the installation has another number of shards, OSError
    where the port is taken.
    """
    log, app = Log(), build(settings, world)
    runner = Runner(app, Bounds(drain=_DRAIN_SECONDS, most=room()))
    try:
        await runner.setup()
        site = web.TCPSite(runner, settings.host, settings.port, reuse_port=True)
        await site.start()
        host, port = runner.addresses[0][:2]
        log.info("edge.started", host=host, port=port, shards=settings.shards)
        _keep_what_is_there()
        await stop.wait()
        app[HEALTH].is_draining = True
    finally:
        await runner.cleanup()
    log.info("edge.stopped")


def _keep_what_is_there() -> None:
    """Look for garbage among what requests leave only, and not after every few of them."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GARBAGE)


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if find_spec("uvloop"):
        loop_factory = import_module("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(_serve_until_told(settings))


async def _serve_until_told(settings: Settings) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(settings, World(), stop)
