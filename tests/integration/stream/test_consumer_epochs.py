"""The lives of streams: numbers drawn from Postgres, counts that only grow."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from ingest.contracts.stream import epoch_key, events_key
from workers.postgres.database import Pool, open_pool, transaction
from workers.redis_io.connections import for_jobs
from workers.stream.epochs import current_epoch, sample


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, size=8) as found:
        yield found


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with for_jobs(redis_url) as client:
        yield client


async def added(pool: Pool) -> list[int]:
    rows = await pool.fetch("select entries_added from stream_epochs order by epoch")
    return [row["entries_added"] for row in rows]


async def sampled(pool: Pool, redis: Redis, *shards: int) -> list[int]:
    async with transaction(pool) as connection:
        await sample(connection, redis, shards)
    return await added(pool)


async def test_a_life_keeps_its_number(pool: Pool, redis: Redis) -> None:
    first = await current_epoch(pool, redis, 0)

    assert first == await current_epoch(pool, redis, 0)
    assert b"%d" % first == await redis.get(epoch_key(0))


async def test_every_life_and_shard_has_a_number_of_its_own(
    pool: Pool, redis: Redis
) -> None:
    first = await current_epoch(pool, redis, 0)
    other = await current_epoch(pool, redis, 1)

    await redis.flushdb()

    assert 3 == len({first, other, await current_epoch(pool, redis, 0)})


async def test_workers_that_start_at_once_get_one_number(
    pool: Pool, redis: Redis
) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(current_epoch(pool, redis, 0)) for _ in range(8)]

    assert 1 == len({task.result() for task in tasks})
    assert [0] == await added(pool)


async def test_the_entries_of_a_life_are_counted(pool: Pool, redis: Redis) -> None:
    await current_epoch(pool, redis, 0)
    for _ in range(3):
        await redis.xadd(events_key(0), {"e": "x"})
    await redis.xtrim(events_key(0), maxlen=1, approximate=False)

    assert [3] == await sampled(pool, redis, 0, 1)


async def test_a_count_is_never_lowered(pool: Pool, redis: Redis) -> None:
    await current_epoch(pool, redis, 0)
    await pool.execute("update stream_epochs set entries_added = 9")
    await redis.xadd(events_key(0), {"e": "x"})

    assert [9] == await sampled(pool, redis, 0)


async def test_entries_of_a_life_without_number_are_counted_for_none(
    pool: Pool, redis: Redis
) -> None:
    await current_epoch(pool, redis, 0)
    await redis.flushdb()
    await redis.xadd(events_key(0), {"e": "x"})

    assert [0] == await sampled(pool, redis, 0)
