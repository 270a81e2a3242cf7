"""An edge, a shard of a real server that may lose its end, and the ledger of what came of it."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import Envelope
from ingest.contracts.placement.layout import Layout
from ingest.contracts.stream import FIELD, GROUP, EntryId, epoch_key, events_key
from ingest.durable.append_counts import KEPT_IDS, AppendCounts
from ingest.durable.comparison import Comparisons
from ingest.durable.edge_clock import EdgeClock, unix_ms
from ingest.durable.former_edges import FormerEdges
from ingest.durable.probes.probe import RedisProbe
from ingest.durable.servers import Breakers, one_server
from ingest.durable.stream import AppendFailed, PendingAppend, Stream
from ingest.redis_io.client import RedisBreaker, connect
from scripts.services.observe.ledger import LedgerView, losses, read_ledger
from tests.support.servers.valkey import Valkey
from tests.support.workers.recording import a_pipeline
from workers.model.batch import Entry, deliveries_of
from workers.postgres.database import Pool, open_pool, transaction
from workers.redis_io.connections import for_jobs
from workers.stream.epochs import count_losses, current_epoch, sample, take_vanished

STREAM = events_key(0)


class Edge:
    """What appends, and what asks Redis how it is."""

    def __init__(
        self, url: str, name: str, kept: int = KEPT_IDS, memory: Path | None = None
    ) -> None:
        """`memory` is a folder that outlives it."""
        self.name = name
        self.reach = RedisBreaker()
        self.redis = connect(url, connections=2, breaker=self.reach)
        self.probes = connect(url, connections=1)
        self.stream = Stream(one_server(self.redis, Layout.at_home(1), RedisBreaker()))
        self.stream.appended = AppendCounts([0], kept)
        former = FormerEdges(memory, memory or Path("/nowhere"), (0,))
        self.comparisons = Comparisons(self.probes, self.stream.appended, former)
        self.comparisons.begin(name, 0)
        self.probe = RedisProbe(
            self.probes,
            breakers=Breakers(self.reach, RedisBreaker()),
            observe=lambda *_: None,
            comparisons=self.comparisons,
            clock=EdgeClock(unix_ms, uuid7),
            can_spool=lambda: True,
        )

    async def report(self) -> None:
        """What the edge does every second, twice: it tells what it found the last time."""
        for _ in range(2):
            await self.tell()

    async def tell(self) -> None:
        """What the edge does every second."""
        now = time.time_ns() // 10**6
        await self.comparisons.adopt(now)
        told = self.comparisons.report()
        await self.probe.probe(self.name, [0], now // 1000, told)

    async def close(self) -> None:
        await self.stream.drain()
        self.comparisons.close()
        await self.redis.aclose()
        await self.probes.aclose()


@dataclass
class Scene:
    """An edge, one shard, and the ledger of what became of its entries."""

    edge: Edge
    redis: Redis
    pool: Pool
    recorded: set[bytes] = field(default_factory=set)
    unanswered: int = 0
    _count: int = 0

    async def replace_edge(self, edge: Edge) -> None:
        """The former one ends as if it were killed: it tells nobody anything."""
        await self.edge.close()
        self.edge = edge
        await edge.report()

    async def append(self, count: int) -> None:
        for _ in range(count):
            self._count += 1
            try:
                await self.edge.stream.append(UUID(int=self._count), b"x" * 100)
            except AppendFailed:
                self.unanswered += 1

    async def settle(self, count: int = 10_000) -> None:
        """Record entries as a worker does: a redelivered one counts nothing."""
        ids: list[bytes] = []
        # Its own, which a server may have forgotten that it acknowledged, and then new ones.
        for start in ("0", ">"):
            asked = self.redis.xreadgroup(GROUP, "one", {STREAM: start}, count)
            answer: Any = await asked
            ids += [entry for entry, _ in answer[0][1]] if answer else []
        await self.pool.execute(
            "insert into ledger as total (epoch, shard, consumer, recorded)"
            " values ($1, 0, 'one', $2) on conflict (epoch, shard, consumer)"
            " do update set recorded = total.recorded + excluded.recorded",
            int(await self.redis.get(epoch_key(0))),
            len({*ids} - self.recorded),
        )
        self.recorded.update(ids)
        if ids:
            await self.redis.xack(STREAM, GROUP, *ids)

    async def send(self, *events: Envelope) -> None:
        """Append events, each in an entry of its own, as a client's requests do."""
        for event in events:
            try:
                await self.edge.stream.append(event.id, encode(event))
            except AppendFailed:
                self.unanswered += 1

    async def send_together(self, *events: Envelope) -> None:
        """Append the events of one batch."""
        appends = [PendingAppend(event.id, encode(event)) for event in events]
        assert not any(await self.edge.stream.append_together(appends))

    async def record(self, count: int = 10_000) -> None:
        """Read entries and record them, as a worker does."""
        answer: Any = await self.redis.xreadgroup(GROUP, "one", {STREAM: ">"}, count)
        entries: Sequence[Any] = answer[0][1] if answer else []
        epoch = int(await self.redis.get(epoch_key(0)))
        deliveries = [
            delivery
            for entry, fields in entries
            for delivery in deliveries_of(
                Entry.of(epoch, 0, *EntryId.of(entry)), fields[FIELD]
            )
        ]
        await a_pipeline(self.pool).process(deliveries)
        if entries:
            await self.redis.xack(STREAM, GROUP, *[entry for entry, _ in entries])

    async def look(self) -> None:
        async with self.pool.acquire() as connection:
            await take_vanished(connection, self.redis)
        async with transaction(self.pool) as connection:
            await sample(connection, self.redis, [0])

    async def judge(self) -> tuple[LedgerView, list[dict[str, Any]]]:
        """The ledger and what was lost, once everything is settled and counted."""
        await self.edge.report()
        await self.look()
        await self.settle()
        for _ in range(2):
            async with transaction(self.pool) as connection:
                await count_losses(connection, self.redis, [0])
        async with self.pool.acquire() as connection:
            found = await read_ledger(self.redis, connection, [0], Path("/nowhere"))
            return found, await losses(connection)

    def acknowledged(self) -> set[bytes]:
        return {*self.edge.stream.appended.latest(0)}

    async def there(self) -> set[bytes]:
        return {entry for entry, _ in await self.redis.xrange(STREAM)}


@asynccontextmanager
async def a_scene(url: str, database_url: str) -> AsyncIterator[Scene]:
    async with for_jobs(url) as redis, open_pool(database_url, size=3) as pool:
        await redis.xgroup_create(STREAM, GROUP, "0", mkstream=True)
        await current_epoch(pool, redis, 0)
        edge = Edge(url, "one")
        await edge.report()
        scene = Scene(edge, redis, pool)
        try:
            yield scene
        finally:
            await scene.edge.close()


async def restart(scene: Scene, valkey: Valkey, cut: int) -> set[bytes]:
    """Kill the server and take bytes off its file; the acknowledged entries that are gone."""
    known = scene.acknowledged()
    await asyncio.to_thread(valkey.kill)
    await asyncio.to_thread(valkey.cut_its_file, cut)
    await asyncio.to_thread(valkey.start)
    return known - await scene.there()
