"""A server is restarted without the end of its file, or replaced by one that was behind.

Its streams go on in their epoch and lack entries that edges were told were there.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from ingest.contracts.stream import GROUP, epoch_key, events_key
from ingest.contracts.variables import Variables
from ingest.durable.degradation import Degradation
from ingest.durable.edge_clock import EdgeClock, unix_ms
from ingest.durable.probe import Breakers, RedisProbe
from ingest.durable.stream import AppendFailed, Stream
from ingest.redis_io.client import RedisBreaker, connect
from ingest.settings import Spooling
from scripts.services.observe.ledger import LedgerView, losses, read_ledger
from tests.support.servers.valkey import Valkey, running_valkey
from workers.postgres.database import Pool, open_pool, transaction
from workers.redis_io.connections import for_jobs
from workers.stream.epochs import count_losses, current_epoch, sample

STREAM = events_key(0)


class Edge:
    """What appends, and what asks Redis how it is."""

    def __init__(self, url: str, name: str) -> None:
        self.name = name
        self.reach = RedisBreaker()
        self.redis = connect(url, connections=2, breaker=self.reach)
        self.probes = connect(url, connections=1)
        self.stream = Stream(self.redis, 1, RedisBreaker())
        self.probe = RedisProbe(
            self.probes,
            breakers=Breakers(self.reach, RedisBreaker()),
            degradation=Degradation(Spooling.load(Variables({}))),
            appended=self.stream.appended,
            clock=EdgeClock(unix_ms, uuid7),
            can_spool=lambda: True,
        )

    async def report(self) -> None:
        """What the edge does every second, twice: it tells what it found the last time."""
        for _ in range(2):
            told = {
                **self.stream.appended.report(),
                "run": self.probe.run,
                "since": 0,
            }
            await self.probe.probe(self.name, 1, time.time_ns() // 10**9, told)

    async def close(self) -> None:
        await self.stream.drain()
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

    async def append(self, count: int) -> None:
        for _ in range(count):
            self._count += 1
            try:
                await self.edge.stream.append(UUID(int=self._count), b"x" * 100)
            except AppendFailed:
                self.unanswered += 1

    async def settle(self, count: int = 10_000) -> None:
        """Record entries as a worker does: a redelivered one counts nothing."""
        answer: Any = await self.redis.xreadgroup(GROUP, "one", {STREAM: ">"}, count)
        ids = [entry for entry, _ in answer[0][1]] if answer else []
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

    async def look(self) -> None:
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
            found = await read_ledger(self.redis, connection, 1, Path("/nowhere"))
            return found, await losses(connection)

    def acknowledged(self) -> set[bytes]:
        return {one for one in self.edge.stream.appended.latest[0] if one is not None}

    async def there(self) -> set[bytes]:
        return {entry for entry, _ in await self.redis.xrange(STREAM)}


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running_valkey() as server:
        yield server


@pytest.fixture
async def scene(valkey: Valkey, database_url: str) -> AsyncIterator[Scene]:
    async with a_scene(valkey.url, database_url) as found:
        yield found


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


async def test_what_a_cut_file_took_along_is_lost_unless_it_was_recorded(
    scene: Scene, valkey: Valkey
) -> None:
    await scene.append(60)
    await scene.settle(60)
    await scene.edge.report()
    await scene.look()
    await scene.append(30)
    gone = await restart(scene, valkey, 24_000)
    assert gone & scene.recorded
    truth = gone - scene.recorded
    # More than vanished, so that no count falls that anybody looks at.
    await scene.edge.report()
    await scene.append(200)

    ledger, [lost] = await scene.judge()

    assert 30 == len(truth)
    assert (30, 30, 0) == (ledger.lost, lost["at_most"], ledger.balance)
    assert 290 == ledger.accepted
    assert lost["since"] < lost["until"]


async def test_a_server_that_comes_back_whole_has_lost_nothing(
    scene: Scene, valkey: Valkey
) -> None:
    await scene.append(60)
    await scene.settle(20)
    await scene.look()
    assert set() == await restart(scene, valkey, 0)

    ledger, lost = await scene.judge()

    assert (0, 0, []) == (ledger.lost, ledger.balance, lost)


async def test_a_reply_that_was_lost_hides_no_loss(
    scene: Scene, valkey: Valkey
) -> None:
    await scene.append(20)
    valkey.freeze()
    await scene.append(1)
    valkey.thaw()
    await scene.edge.report()
    await scene.append(20)
    assert (1, 41) == (scene.unanswered, len(await scene.there()))
    await scene.settle(30)
    await scene.edge.report()
    await scene.look()
    # An acknowledgement is shorter than the entries.
    gone = await restart(scene, valkey, 10_000) - scene.recorded
    await scene.edge.report()
    await scene.append(50)

    ledger, [lost] = await scene.judge()

    assert (len(gone), len(gone)) == (ledger.lost, lost["at_most"])
    assert 0 == ledger.balance


async def test_appends_without_an_answer_make_the_loss_a_range(
    scene: Scene, valkey: Valkey
) -> None:
    await scene.append(20)
    await scene.settle(20)
    await scene.append(10)
    valkey.freeze()
    await scene.append(1)
    gone = await restart(scene, valkey, 3_500) - scene.recorded

    ledger, [lost] = await scene.judge()

    assert ledger.lost <= len(gone) <= lost["at_most"] == ledger.lost + 1


async def test_nobody_knows_what_an_edge_lost_that_died_in_that_second(
    scene: Scene, valkey: Valkey
) -> None:
    await scene.append(20)
    await scene.settle()
    await scene.edge.report()
    await scene.look()
    await restart(scene, valkey, 1_000)
    # It starts again, and what it appended before is forgotten.
    await scene.edge.close()
    scene.edge = Edge(valkey.url, "another")

    ledger, [lost] = await scene.judge()

    assert (0, 0) == (ledger.lost, ledger.balance)
    assert lost["at_most"] is None


async def test_what_a_lost_primary_had_not_replicated_is_lost(
    database_url: str, tmp_path: Path
) -> None:
    address = tmp_path / "address"
    with running_valkey(port=True) as primary, running_valkey(port=True) as replica:
        address.symlink_to(primary.socket)
        async with a_scene(f"unix://{address}?db=0", database_url) as scene:
            await scene.append(50)
            await scene.settle(30)
            replica.follow(primary)
            await scene.edge.report()
            await scene.look()
            # Cut off and promoted, while the former primary still takes events.
            replica.follow(None)
            await scene.append(40)
            await scene.settle(35)
            known = scene.acknowledged()
            await asyncio.to_thread(primary.kill)
            address.unlink()
            address.symlink_to(replica.socket)
            truth = known - await scene.there() - scene.recorded
            await scene.edge.report()
            await scene.append(70)

            ledger, [lost] = await scene.judge()

    assert 25 == len(truth) == ledger.lost == lost["at_most"]
    assert 0 == ledger.balance


async def begin_anew(scene: Scene) -> None:
    """What a worker does that finds no stream."""
    await scene.redis.xgroup_create(STREAM, GROUP, "0", mkstream=True)
    await current_epoch(scene.pool, scene.redis, 0)


async def test_an_emptied_server_lost_what_edges_had_appended_since_it_was_counted(
    scene: Scene, valkey: Valkey
) -> None:
    await scene.append(20)
    await scene.settle()
    await scene.edge.report()
    await scene.look()
    await scene.append(10)
    await asyncio.to_thread(valkey.kill)
    await asyncio.to_thread(valkey.lose_its_data)
    await asyncio.to_thread(valkey.start)
    await begin_anew(scene)
    await scene.edge.report()
    await scene.append(5)

    ledger, [lost] = await scene.judge()

    assert (10, 10, 0) == (ledger.lost, lost["at_most"], ledger.balance)


async def test_what_came_after_a_server_was_emptied_is_not_lost_with_it(
    scene: Scene,
) -> None:
    await scene.append(20)
    await scene.settle()
    await scene.edge.report()
    await scene.look()
    await scene.redis.flushdb()
    # Before the edge and the workers notice.
    await scene.append(5)
    await scene.redis.xgroup_create(STREAM, GROUP, "0")
    await current_epoch(scene.pool, scene.redis, 0)

    ledger, lost = await scene.judge()

    assert (0, 0, []) == (ledger.lost, ledger.balance, lost)
    assert 25 == ledger.recorded
