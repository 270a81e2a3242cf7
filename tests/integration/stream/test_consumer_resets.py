"""The consumer when groups, entries or whole streams are gone."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from ingest.contracts.stream import FIELD, GROUP, epoch_key
from tests.support.eventually import eventually
from tests.support.servers.valkey import running_valkey
from tests.support.workers.consuming import (
    STREAM,
    Recorder,
    acknowledged,
    add,
    consuming,
    has,
    is_so,
    left_pending_by,
    pending,
)
from workers.redis_io.connections import REDIS_ERRORS, for_jobs


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with for_jobs(redis_url) as client:
        yield client


async def test_a_group_that_went_away_is_made_again_with_a_warning(
    redis_url: str, redis: Redis
) -> None:
    recorder = Recorder()

    with capture_logs() as logs:
        async with consuming(redis_url, recorder):
            await add(redis, b"a")
            await eventually(acknowledged(redis))
            await redis.xgroup_destroy(STREAM, GROUP)
            await add(redis, b"b")
            await eventually(has(recorder, b"a", b"a", b"b"))

    created = [line for line in logs if line["event"] == "group.created"]
    assert ["info", "warning"] == [line["log_level"] for line in created]
    assert {1} == {delivery.entry.epoch for delivery in recorder.settled}


async def test_a_group_that_went_away_while_no_worker_ran_is_warned_of_too(
    redis_url: str, redis: Redis
) -> None:
    async with consuming(redis_url, Recorder()):
        await add(redis, b"a")
        await eventually(acknowledged(redis))
    await redis.xgroup_destroy(STREAM, GROUP)

    with capture_logs() as logs:
        async with consuming(redis_url, Recorder()):
            await eventually(acknowledged(redis))

    created = [line for line in logs if line["event"] == "group.created"]
    assert ["warning"] == [line["log_level"] for line in created]


async def test_an_emptied_server_starts_a_new_life(
    redis_url: str, redis: Redis
) -> None:
    recorder = Recorder()

    async with consuming(redis_url, recorder):
        await add(redis, b"a")
        await eventually(has(recorder, b"a"))
        await redis.flushdb()
        await add(redis, b"b")
        await eventually(has(recorder, b"a", b"b"))

    assert [1, 2] == [delivery.entry.epoch for delivery in recorder.settled]


async def test_a_stream_that_was_deleted_alone_starts_a_new_life(
    redis_url: str, redis: Redis
) -> None:
    recorder = Recorder()

    async with consuming(redis_url, recorder):
        await add(redis, b"a")
        await eventually(has(recorder, b"a"))
        await redis.delete(STREAM)
        await eventually(lambda: _is(redis, epoch_key(0), b"2"))
        await add(redis, b"b")
        await eventually(has(recorder, b"a", b"b"))

    assert [1, 2] == [delivery.entry.epoch for delivery in recorder.settled]


async def test_entries_of_a_life_that_ended_are_not_taken_for_the_next_ones(
    redis_url: str, redis: Redis
) -> None:
    recorder = Recorder()

    async with consuming(redis_url, recorder):
        await add(redis, b"a")
        await eventually(has(recorder, b"a"))
        # As another worker would have done before this one looks.
        async with redis.pipeline(transaction=True) as pipe:
            pipe.delete(STREAM)
            pipe.xgroup_create(STREAM, GROUP, "0", mkstream=True)
            pipe.set(epoch_key(0), 7)
            pipe.xadd(STREAM, {FIELD: b"b"})
            await pipe.execute()
        await eventually(has(recorder, b"a", b"b"))

    assert [1, 7] == [delivery.entry.epoch for delivery in recorder.settled]


@pytest.mark.parametrize("name", ["one", "another"])
async def test_pending_entries_that_were_trimmed_are_counted_as_lost(
    redis_url: str, redis: Redis, name: str
) -> None:
    await left_pending_by(redis, name, b"a", b"b", b"c")
    await redis.xtrim(STREAM, maxlen=1, approximate=False)
    await asyncio.sleep(0.06)
    recorder = Recorder()

    with capture_logs() as logs:
        async with consuming(redis_url, recorder, reclaim_after=0.05) as shards:
            await eventually(has(recorder, b"c"))
            await eventually(lambda: _none_pending(redis))

    assert 2 == shards[0].lost
    assert [2] == [line["count"] for line in logs if line["event"] == "entry.lost"]


async def test_a_server_that_dies_and_comes_back_is_read_again() -> None:
    recorder = Recorder()

    with running_valkey() as valkey:
        async with for_jobs(valkey.url) as redis, consuming(valkey.url, recorder):
            await add(redis, b"a")
            await eventually(has(recorder, b"a"))
            valkey.kill()
            valkey.start()
            await eventually(lambda: _added(redis, b"b"))
            await eventually(lambda: is_so(b"b" in recorder.payloads))

    assert {1} == {delivery.entry.epoch for delivery in recorder.settled}


async def _is(redis: Redis, key: str, value: bytes) -> bool:
    return bool(value == await redis.get(key))


async def _none_pending(redis: Redis) -> bool:
    return not await pending(redis)


async def _added(redis: Redis, payload: bytes) -> bool:
    """Whether the server takes entries again, and has taken this one."""
    try:
        await add(redis, payload)
    except REDIS_ERRORS:
        return False
    return True
