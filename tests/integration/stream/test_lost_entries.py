"""Losses: what vanished from a stream unread is booked, once, and never too much."""

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from ingest.contracts.placement.layout import Layout
from ingest.contracts.stream import FIELD, GROUP, cut_key, epoch_key, events_key
from workers.jobs.schedule import Jobs
from workers.postgres.database import Pool, open_pool, transaction
from workers.redis_io import stream_state
from workers.redis_io.connections import for_jobs
from workers.redis_io.stream_state import read_stream
from workers.stream import epochs
from workers.stream.epochs import count_losses, current_epoch, sample
from workers.stream.shard import ReaderConfig, ShardReader
from workers.stream.trimmer import Trimmer

STREAM = events_key(0)


@dataclass(frozen=True, slots=True)
class Stage:
    """One shard, and the books of what became of its entries."""

    redis: Redis
    pool: Pool

    async def begin(self) -> int:
        """Begin a life of the stream."""
        await self.redis.xgroup_create(STREAM, GROUP, "0", mkstream=True)
        return await current_epoch(self.pool, self.redis, 0)

    async def add(self, count: int) -> None:
        for _ in range(count):
            await self.redis.xadd(STREAM, {FIELD: b"x"})

    async def read(self, count: int) -> list[bytes]:
        answer = await self.redis.xreadgroup(GROUP, "one", {STREAM: ">"}, count)
        return [entry for entry, _ in answer[0][1]] if answer else []

    async def book(self, count: int) -> None:
        """What a worker's commit does to the ledger."""
        await self.pool.execute(
            "insert into ledger as total (epoch, shard, consumer, recorded)"
            " values ($1, 0, 'one', $2) on conflict (epoch, shard, consumer)"
            " do update set recorded = total.recorded + excluded.recorded",
            int(await self.redis.get(epoch_key(0))),
            count,
        )

    async def settle(self, count: int) -> None:
        entries = await self.read(count)
        await self.book(len(entries))
        await self.acknowledge(entries)

    async def acknowledge(self, entries: list[bytes]) -> None:
        if entries:
            await self.redis.xack(STREAM, GROUP, *entries)

    async def sample(self) -> None:
        async with transaction(self.pool) as connection:
            await sample(connection, self.redis, [0])

    async def behead(self, count: int) -> None:
        """Take out the oldest entries, as somebody does who does not know us."""
        length = await self.redis.xlen(STREAM)
        await self.redis.xtrim(STREAM, maxlen=length - count, approximate=False)

    async def count(self) -> int:
        """Run the job; what the ledger has as lost then."""
        async with transaction(self.pool) as connection:
            await count_losses(connection, self.redis, [0, 1])
        return await self.lost()

    async def lost(self) -> int:
        found = "select coalesce(sum(lost), 0)::int from ledger"
        return int(await self.pool.fetchval(found))


@pytest.fixture
async def stage(redis_url: str, database_url: str) -> AsyncIterator[Stage]:
    async with for_jobs(redis_url) as redis, open_pool(database_url, size=3) as pool:
        found = Stage(redis, pool)
        await found.begin()
        yield found


async def test_nothing_is_lost_of_a_stream_that_nobody_touched(stage: Stage) -> None:
    await stage.add(10)
    await stage.settle(4)
    await stage.read(3)

    with capture_logs() as logs:
        assert 0 == await stage.count()

    assert [] == logs


async def test_entries_that_were_trimmed_undelivered_are_lost(stage: Stage) -> None:
    await stage.add(10)
    await stage.settle(4)
    await stage.behead(7)

    with capture_logs() as logs:
        assert 3 == await stage.count()
        assert 3 == await stage.count()

    assert [("ledger.lost", 0, 3)] == [
        (line["event"], line["shard"], line["count"]) for line in logs
    ]
    await stage.settle(10)
    assert 3 == await stage.count()


async def test_entries_that_were_deleted_undelivered_are_lost(stage: Stage) -> None:
    await stage.add(10)
    ids = [entry for entry, _ in await stage.redis.xrange(STREAM)]
    await stage.settle(4)
    await stage.redis.xdel(STREAM, ids[1], ids[6], ids[8])

    assert 2 == await stage.count()


async def test_pending_entries_are_lost_when_their_worker_has_given_them_up(
    stage: Stage,
) -> None:
    await stage.add(5)
    pending = await stage.read(5)
    await stage.behead(3)

    assert 0 == await stage.count()

    await stage.redis.xack(STREAM, GROUP, *pending[:3])
    assert 3 == await stage.count()


async def test_what_was_recorded_before_it_vanished_is_not_lost(stage: Stage) -> None:
    await stage.add(5)
    pending = await stage.read(5)
    await stage.book(5)
    await stage.behead(5)
    await stage.redis.xack(STREAM, GROUP, *pending)

    assert 0 == await stage.count()


async def test_what_a_worker_forgot_to_record_is_an_imbalance_and_no_loss(
    stage: Stage,
) -> None:
    await stage.add(300)
    await stage.settle(290)
    await stage.redis.xack(STREAM, GROUP, *await stage.read(10))

    assert 0 == await stage.count()

    # Not even after our own trimmer has taken it out.
    assert 300 == await Trimmer(stage.redis, [0], 0).trim()
    assert 0 == await stage.count()


async def test_whatever_happens_in_whatever_order_it_never_says_too_many(
    stage: Stage,
) -> None:
    chance = random.Random(42)  # noqa: S311 -- repeatable
    lost = 0
    for _ in range(60):
        await stage.add(chance.randint(0, 5))
        pending = await stage.read(chance.randint(1, 5))
        lost += await _behead_at_most(stage, chance.randint(0, 6))
        there = [one for one in pending if await stage.redis.xrange(STREAM, one, one)]
        lost += len(pending) - len(there)
        assert await stage.count() <= lost
        await stage.book(len(there))
        assert await stage.count() <= lost
        await stage.acknowledge(pending)
        assert await stage.count() <= lost

    await stage.settle(1000)
    assert 0 < lost
    assert lost == await stage.count()


async def test_a_worker_that_commits_meanwhile_makes_it_say_less_and_then_the_truth(
    stage: Stage,
) -> None:
    await stage.add(10)
    await stage.behead(2)
    pending = await stage.read(5)
    await stage.book(5)

    assert 0 == await stage.count()

    await stage.redis.xack(STREAM, GROUP, *pending)
    assert 2 == await stage.count()


async def test_a_long_backlog_makes_it_say_less_and_then_the_truth(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_state, "COUNT_LIMIT", 5)
    await stage.add(20)
    await stage.behead(4)

    assert 4 == await stage.count()

    ids = [entry for entry, _ in await stage.redis.xrange(STREAM)]
    await stage.settle(2)
    await stage.redis.xdel(STREAM, ids[-1])
    # The length tells that one is gone, but not from where.
    assert 4 <= await stage.count() <= 5
    await stage.settle(100)
    assert 5 == await stage.count()


async def test_what_was_lost_and_is_found_is_no_longer_lost(stage: Stage) -> None:
    await stage.add(5)
    await stage.behead(3)
    await stage.settle(5)
    assert 3 == await stage.count()

    # Put back from an archive.
    await stage.book(2)

    assert 1 == await stage.count()


async def test_without_its_group_nothing_is_said_of_a_stream(stage: Stage) -> None:
    await stage.add(5)
    await stage.settle(2)
    await stage.behead(4)
    await stage.redis.xgroup_destroy(STREAM, GROUP)

    assert 0 == await stage.count()


async def test_a_life_that_ended_took_along_what_was_not_recorded(
    stage: Stage,
) -> None:
    await stage.add(5)
    await stage.settle(2)
    await stage.sample()
    await stage.redis.flushdb()

    with capture_logs() as logs:
        assert 3 == await stage.count()
        await stage.begin()
        assert 3 == await stage.count()

    assert [3] == [line["count"] for line in logs]
    await stage.add(4)
    await stage.settle(4)
    assert 3 == await stage.count()


async def test_a_batch_of_a_life_that_ended_is_not_lost_once_it_is_recorded(
    stage: Stage,
) -> None:
    await stage.add(5)
    await stage.read(5)
    await stage.sample()
    epoch = await stage.redis.get(epoch_key(0))
    await stage.redis.flushdb()
    assert 5 == await stage.count()

    await stage.redis.set(epoch_key(0), epoch)
    await stage.book(5)
    await stage.redis.flushdb()

    assert 0 == await stage.count()


@pytest.mark.parametrize("is_emptied_before", [True, False])
async def test_nothing_is_lost_of_a_life_that_begins_while_losses_are_counted(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, *, is_emptied_before: bool
) -> None:
    if is_emptied_before:
        await stage.redis.flushdb()

    async def look_slowly(redis: Redis, shard: int) -> stream_state.StreamState | None:
        found = await read_stream(redis, shard)
        if shard == 1:
            # Shard 0 has been looked at.
            await redis.flushdb()
            await stage.begin()
            await stage.add(5)
            await stage.sample()
        return found

    monkeypatch.setattr(epochs, "read_stream", look_slowly)

    assert 0 == await stage.count()


async def test_the_trimmers_count_ends_with_its_life(stage: Stage) -> None:
    await stage.add(200)
    await stage.settle(200)
    await Trimmer(stage.redis, [0], 0).trim()

    assert b"200" == await stage.redis.get(cut_key(0))
    await stage.redis.delete(STREAM)
    await ShardReader(
        stage.redis, 0, ReaderConfig(name="one"), partial(current_epoch, stage.pool)
    ).prepare()
    stream = await read_stream(stage.redis, 0)
    assert stream is not None
    assert (0, 0) == (stream.cut, stream.added)


async def test_the_job_runs_once_at_a_time(stage: Stage) -> None:
    await stage.add(3)
    await stage.behead(3)
    async with transaction(stage.pool) as connection:
        await connection.execute(
            "select pg_advisory_xact_lock(hashtext('reftide job count_losses'))"
        )
        await Jobs(stage.pool, stage.redis, Layout.at_home(1)).count_losses()
        assert 0 == await stage.lost()

    await Jobs(stage.pool, stage.redis, Layout.at_home(1)).count_losses()

    assert 3 == await stage.lost()


async def _behead_at_most(stage: Stage, count: int) -> int:
    """Take out so many of the oldest, if there are; how many were not delivered."""
    stream = await read_stream(stage.redis, 0)
    assert stream is not None
    count = min(count, stream.length)
    await stage.behead(count)
    return max(0, count - (stream.length - stream.undelivered))
