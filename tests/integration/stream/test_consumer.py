"""The consumer against a real server: what is read, kept, acknowledged and given up."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from tests.support.eventually import eventually
from tests.support.workers.consuming import (
    Recorder,
    acknowledged,
    add,
    consuming,
    has,
    is_so,
    left_pending_by,
    pending,
)
from workers.redis_io.connections import for_jobs


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with for_jobs(redis_url) as client:
        yield client


async def test_what_was_written_before_the_first_worker_came_is_read(
    redis_url: str, redis: Redis
) -> None:
    await add(redis, b"a", b"b")
    recorder = Recorder()

    async with consuming(redis_url, recorder):
        await eventually(has(recorder, b"a", b"b"))
        await eventually(acknowledged(redis))

    assert {(1, 0)} == {
        (each.entry.epoch, each.entry.shard) for each in recorder.settled
    }


async def test_every_shard_is_read(redis_url: str, redis: Redis) -> None:
    recorder = Recorder()

    async with consuming(redis_url, recorder, shards=3):
        for shard in range(3):
            await add(redis, b"%d" % shard, shard=shard)
        await eventually(lambda: is_so(3 == len(recorder.settled)))

    assert {0, 1, 2} == {delivery.entry.shard for delivery in recorder.settled}


async def test_a_batch_is_no_larger_than_wanted(redis_url: str, redis: Redis) -> None:
    await add(redis, b"a", b"b", b"c")
    recorder = Recorder()

    async with consuming(redis_url, recorder, batch_size=2):
        await eventually(has(recorder, b"a", b"b", b"c"))

    assert [2, 1] == [len(batch) for batch in recorder.batches]


async def test_after_few_entries_others_come_together(
    redis_url: str, redis: Redis
) -> None:
    recorder = Recorder()

    async with consuming(redis_url, recorder, gather_seconds=3.0):
        await add(redis, b"a")
        await eventually(has(recorder, b"a"))
        for payload in (b"b", b"c", b"d"):
            await add(redis, payload)
        await eventually(has(recorder, b"a", b"b", b"c", b"d"))

    assert [1, 3] == [len(batch) for batch in recorder.batches]


async def test_after_many_entries_the_next_are_read_at_once(
    redis_url: str, redis: Redis
) -> None:
    await add(redis, *[b"%d" % n for n in range(8)])
    recorder = Recorder()

    async with consuming(redis_url, recorder, gather_seconds=30.0, batch_size=4):
        await eventually(lambda: is_so(8 == len(recorder.settled)), within=10)

    assert [4, 4] == [len(batch) for batch in recorder.batches]


async def test_a_worker_that_comes_back_gets_its_own_entries_first(
    redis_url: str, redis: Redis
) -> None:
    await left_pending_by(redis, "one", b"a", b"b")
    await add(redis, b"c")
    recorder = Recorder()

    async with consuming(redis_url, recorder, batch_size=1):
        await eventually(has(recorder, b"a", b"b", b"c"))
        await eventually(acknowledged(redis))


async def test_entries_of_a_worker_that_died_are_taken_over(
    redis_url: str, redis: Redis
) -> None:
    await left_pending_by(redis, "another", b"a", b"b", b"c")
    await asyncio.sleep(0.06)
    recorder = Recorder()

    async with consuming(redis_url, recorder, batch_size=2, reclaim_after=0.05):
        await eventually(has(recorder, b"a", b"b", b"c"))
        await eventually(acknowledged(redis))


async def test_entries_that_another_worker_has_in_hand_are_left_to_it(
    redis_url: str, redis: Redis
) -> None:
    await left_pending_by(redis, "another", b"a")
    recorder = Recorder()

    async with consuming(redis_url, recorder):
        await add(redis, b"b")
        await eventually(has(recorder, b"b"))

    assert [b"another"] == [each["consumer"] for each in await pending(redis)]


async def test_entries_that_come_again_say_how_often(
    redis_url: str, redis: Redis
) -> None:
    await left_pending_by(redis, "one", b"a")
    await add(redis, b"b")
    recorder = Recorder()

    async with consuming(redis_url, recorder):
        await eventually(has(recorder, b"a", b"b"))

    assert [2, 1] == [delivery.times for delivery in recorder.settled]
