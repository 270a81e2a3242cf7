"""The sink of an edge with all that `app` puts around it."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from ingest.contracts.placement.layout import Layout
from ingest.contracts.stream import FIELD, events_key
from ingest.contracts.variables import Variables
from ingest.durable.comparison import Comparisons
from ingest.durable.degradation import Degradation, Level
from ingest.durable.drain import Drainer
from ingest.durable.edge_clock import EdgeClock, unix_ms
from ingest.durable.former_edges import FormerEdges
from ingest.durable.probes.pressure import Look
from ingest.durable.probes.probe import RedisProbe
from ingest.durable.servers import Breakers, one_server
from ingest.durable.sink import DurableSink
from ingest.durable.spool.directory import SpoolDirectory, contents, stores
from ingest.durable.spool.spool import Spool
from ingest.durable.stream import Stream
from ingest.redis_io.client import RedisBreaker, connect
from ingest.redis_io.replicated import patience
from ingest.settings import Spooling

SHARDS = 2


@dataclass
class Edge:
    """All that `app` puts around a sink."""

    url: str
    root: Path
    variables: dict[str, str]
    name: str = "edge"

    def __post_init__(self) -> None:
        spooling = Spooling.load(Variables(self.variables))
        replicas = Variables(self.variables).replicas()
        self.reach, self.writes = RedisBreaker(), RedisBreaker()
        self.redis = connect(self.url, connections=4, breaker=self.reach)
        self.probes = connect(self.url, connections=2, answer_within=patience(replicas))
        self.servers = one_server(
            self.redis, Layout.at_home(SHARDS), self.writes, replicas
        )
        self.stream = Stream(self.servers)
        self.spool = Spool(
            SpoolDirectory(self.root, lambda _: None),
            most_bytes=spooling.most_bytes,
            clock=time.monotonic,
        )
        degradation = Degradation(spooling)
        self.sink = DurableSink(
            self.stream,
            self.spool,
            degradation,
            reach=self.reach,
            writes=self.writes,
        )
        self.drainer = Drainer(
            self.spool,
            self.stream,
            lambda: self.sink.standing.level,
            spooling.drain_rate,
        )

        def observe(shards: Sequence[int], seen: Look) -> str | None:
            degradation.observe(seen.pressure)
            return self.servers.note_sealed(shards, seen.sealed)

        former = FormerEdges(None, self.root, tuple(range(SHARDS)))
        self.watch = RedisProbe(
            self.probes,
            breakers=Breakers(self.reach, self.writes, replicas),
            observe=observe,
            comparisons=Comparisons(self.probes, self.stream.appended, former),
            clock=EdgeClock(unix_ms, uuid7),
            can_spool=lambda: self.spool.problem is None,
        )

    def start(self) -> None:
        self.spool.start()
        self.drainer.start()
        self.watch.start(
            self.name,
            range(SHARDS),
            lambda: {"level": self.sink.standing.level},
        )

    async def stop(self) -> None:
        await self.drainer.stop()
        await self.watch.stop()
        await self.stream.drain()
        await self.spool.stop()
        await self.redis.aclose()
        await self.probes.aclose()

    async def append(self, *numbers: int) -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in numbers:
                tasks.create_task(self.sink.append(UUID(int=number), b"%d" % number))

    async def spooled(self) -> list[int]:
        return await asyncio.to_thread(kept_in, self.root)

    async def is_drained(self) -> bool:
        return not await self.spooled() and self.sink.standing.level is Level.STREAM


def kept_in(root: Path) -> list[int]:
    return [int(item.payload) for folder in stores(root) for item in contents(folder)]


@asynccontextmanager
async def an_edge(url: str, root: Path, **variables: str) -> AsyncIterator[Edge]:
    edge = Edge(url, root, variables)
    edge.start()
    try:
        yield edge
    finally:
        await edge.stop()


async def streamed(url: str) -> list[int]:
    """The events in the streams, each shard's in its order."""
    async with Redis.from_url(url) as redis:
        shards = [await redis.xrange(events_key(shard)) for shard in range(SHARDS)]
    return [int(fields[FIELD]) for shard in shards for _, fields in shard]
