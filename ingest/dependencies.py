"""The adapters of an edge: clients of Redis, sink, directory, limiter."""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from redis.asyncio import Redis

from ingest.contracts.metrics.edge import REQUESTS
from ingest.contracts.placement.layout import described
from ingest.contracts.telemetry import Log
from ingest.core.client_ip import Proxies
from ingest.directory.cache import snapshot_of
from ingest.directory.lookup import Directory
from ingest.directory.unknown_codes import UnknownCodeCounts
from ingest.durable.comparison import Comparisons
from ingest.durable.degradation import Degradation
from ingest.durable.drain import Drainer
from ingest.durable.edge_clock import EdgeClock
from ingest.durable.former_edges import FormerEdges
from ingest.durable.probes.apart import StreamsApart, breakers_of
from ingest.durable.probes.pressure import Look
from ingest.durable.probes.probe import RedisProbe
from ingest.durable.probes.server_probe import Pressures, Watched
from ingest.durable.servers import AppendServers, Breakers, one_server, several_servers
from ingest.durable.sink import DurableSink
from ingest.durable.spool.directory import SpoolDirectory, spool_of
from ingest.durable.spool.spool import Spool
from ingest.durable.spool.store import SpoolDamaged
from ingest.durable.stream import AppendFailed, Stream
from ingest.rate_limit.limiter import SharedLimiter
from ingest.redis_io.claims import Claims
from ingest.redis_io.client import REDIS_ERRORS, RedisBreaker, connect
from ingest.redis_io.replicated import patience
from ingest.settings import EdgeSettings

_CONNECTIONS: Final = 16
#: Longer than a reader of changes blocks.
_CHANGES_SECONDS: Final = 1.0

#: The server waits for requests under way for twice this, then the sink once.
DRAIN_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """The parts, and how they start and stop with an application."""

    clients: Sequence[Redis]
    stream: Stream
    spool: Spool
    sink: DurableSink
    degradation: Degradation
    drainer: Drainer
    watch: RedisProbe
    comparisons: Comparisons
    servers: AppendServers
    #: The servers that only streams are on, if there are such.
    apart: StreamsApart | None
    claims: Claims
    limiter: SharedLimiter
    directory: Directory
    unknown_codes: UnknownCodeCounts

    async def connections(self, _: web.Application) -> AsyncIterator[None]:
        yield
        for client in (*self.clients, *self.servers.clients):
            await client.aclose()

    async def look_ups(self, _: web.Application) -> AsyncIterator[None]:
        self.directory.start()
        self.limiter.start()
        self.unknown_codes.start()
        yield
        await self.unknown_codes.stop()
        await self.directory.stop()
        await self.claims.stop()
        await self.limiter.stop()

    async def appends(self, _: web.Application) -> AsyncIterator[None]:
        with suppress(AppendFailed):  # asked again before the first append
            await self.stream.confirm_shards()
        self.spool.start()
        self.drainer.start()
        yield
        for stop in (self.drainer.stop, self.stream.drain, self.spool.stop):
            with suppress(TimeoutError):  # clients that still wait get no 200
                async with asyncio.timeout(DRAIN_SECONDS):
                    await stop()


def build_dependencies(settings: EdgeSettings, clock: EdgeClock) -> Dependencies:
    """The parts of one edge, unconnected."""
    url, spooling = settings.redis_url, settings.spooling
    reach = RedisBreaker()
    redis = connect(url, connections=_CONNECTIONS, breaker=reach)
    changes = connect(url, connections=1, answer_within=_CHANGES_SECONDS)
    # Nobody waits for the probe's connection, which replicas may hold up.
    probes = connect(url, connections=2, answer_within=patience(settings.replicas))
    servers = _stream_servers(settings, redis)
    away = breakers_of(servers, settings.streams)
    stream = Stream(servers)
    degradation = Degradation(spooling)
    home = SpoolDirectory(spool_of(settings.data), _report)
    spool = Spool(home, most_bytes=spooling.most_bytes, clock=time.monotonic)
    sink = DurableSink(stream, spool, degradation, reach=away.reach, writes=away.writes)
    comparisons = _comparisons(settings, probes, stream)

    def can_spool() -> bool:
        return spool.problem is None

    watched = Watched(servers, comparisons, Pressures(degradation), can_spool)
    apart: StreamsApart | None = None
    if settings.streams.are_apart:
        apart = StreamsApart(settings.streams, watched, settings.replicas)
    return Dependencies(
        comparisons=comparisons,
        clients=(redis, changes, probes),
        stream=stream,
        servers=servers,
        spool=spool,
        sink=sink,
        degradation=degradation,
        drainer=Drainer(
            spool, stream, lambda: sink.standing.level, spooling.drain_rate
        ),
        watch=RedisProbe(
            probes,
            breakers=Breakers(reach, RedisBreaker()) if apart else away,
            observe=_observing(servers, degradation, apart),
            comparisons=comparisons,
            clock=clock,
            can_spool=can_spool,
        ),
        apart=apart,
        claims=Claims(redis, settings.day_seconds),
        limiter=SharedLimiter(redis, clock.now),
        directory=Directory(redis, changes, snapshot_of(settings.data)),
        unknown_codes=UnknownCodeCounts(redis, clock.now),
    )


def _observing(
    servers: AppendServers, degradation: Degradation, apart: StreamsApart | None
) -> Callable[[Sequence[int], Look], str | None]:
    note = apart.note_home if apart else degradation.observe

    def observe(shards: Sequence[int], seen: Look) -> str | None:
        note(seen.pressure)
        if seen.knows_agreed:
            servers.note_agreed(seen.agreed)
        return servers.note_sealed(shards, seen.sealed)

    return observe


def _stream_servers(settings: EdgeSettings, home: Redis) -> AppendServers:
    layout, replicas = settings.layout, settings.replicas
    if settings.streams.are_apart:
        return several_servers(settings.streams, layout, home, replicas)
    return one_server(home, layout, RedisBreaker(), replicas)


def _comparisons(settings: EdgeSettings, probes: Redis, stream: Stream) -> Comparisons:
    folder, numbers = settings.shared_memory, settings.layout.numbers
    return Comparisons(
        probes,
        stream.appended,
        FormerEdges(folder, settings.data, numbers),
        has_several_servers=settings.streams.are_apart,
    )


def _report(damage: SpoolDamaged) -> None:
    Log().warning(
        "spool.damaged",
        segment=str(damage.segment),
        first=damage.start,
        bytes=damage.end - damage.start,
        aside=str(damage.aside),
    )


class EdgeState:
    """What an edge says of itself: to Redis once a second, and on its admin port."""

    def __init__(
        self,
        parts: Dependencies,
        clock: EdgeClock,
        shards: Sequence[int],
        proxies: Proxies,
    ) -> None:
        """`shards`: those where `REDIS_URL` leads."""
        self.name = f"{socket.gethostname()}-{os.getpid()}"
        self._parts = parts
        self._clock = clock
        self._shards = shards
        self._proxies = proxies
        self._started = self._level_since = clock.now()
        self._level = parts.sink.standing.level

    def report(self) -> Mapping[str, object]:
        """The edge's state; moments are Unix milliseconds."""
        parts = self._parts
        level, why = parts.sink.standing
        if level is not self._level:
            self._level, self._level_since = level, self._clock.now()
        return {
            "level": level,
            "why": why,
            "level_since": self._level_since,
            "spool_bytes": parts.spool.bytes,
            **parts.comparisons.report(),
            "shards": described(parts.servers.layout.record),
            "streams_away": parts.apart.away() if parts.apart else {},
            "forwarder": self._proxies.forwarders.main(
                self._clock.now(), REQUESTS.total
            ),
            "clock_ahead_seconds": self._clock.ahead_ms / 1000,
        }

    def status(self) -> Mapping[str, object]:
        """What the admin port shows: also while Redis is away."""
        return {
            "kind": "edge",
            "name": self.name,
            **self.report(),
            "spool_limit_bytes": self._parts.spool.most_bytes,
            "redis_answered_at": self._parts.watch.answered_at,
        }

    async def watched(self, _: web.Application) -> AsyncIterator[None]:
        """Probe Redis and tell it the state, as long as an application runs."""
        watch, comparisons = self._parts.watch, self._parts.comparisons
        # What an edge of the same name appended before it was started again is its own.
        comparisons.begin(self.name, self._started)
        with suppress(*REDIS_ERRORS):  # asked again every second
            await watch.read_clock()
        watch.start(self.name, self._shards, self.report)
        if self._parts.apart:
            self._parts.apart.start(self.name)
        yield
        if self._parts.apart:
            await self._parts.apart.stop()
        await watch.stop()
        comparisons.close()
