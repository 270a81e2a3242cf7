"""The lag as we count it, which a trim does not falsify."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from ingest.contracts.stream import FIELD, GROUP, epoch_key, events_key
from tests.support.servers.valkey import running_valkey
from workers.model.batch import TransientError
from workers.redis_io import stream_state
from workers.redis_io.connections import for_jobs
from workers.redis_io.stream_state import Lag, StreamState, lag_of, read_stream

STREAM = events_key(0)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with for_jobs(redis_url) as client:
        await client.set(epoch_key(0), 7)
        await client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
        yield client


async def add(redis: Redis, *seconds_ago: int) -> None:
    now, _ = await redis.time()
    for seconds in seconds_ago:
        await redis.xadd(STREAM, {FIELD: b"x"}, id=f"{(now - seconds) * 1000}-0")


async def seen(redis: Redis) -> StreamState:
    stream = await read_stream(redis, 0)
    assert stream is not None
    return stream


async def test_nothing_waits_where_everything_is_acknowledged(redis: Redis) -> None:
    await add(redis, 9, 8)
    ((_, entries),) = await redis.xreadgroup(GROUP, "one", {STREAM: ">"})
    await redis.xack(STREAM, GROUP, *(entry for entry, _ in entries))

    stream = await seen(redis)

    assert Lag(0, 0, 0.0, 0.0) == lag_of(stream)
    assert (7, 2, 2) == (stream.epoch, stream.length, stream.added)


async def test_the_oldest_of_what_waits_tells_how_far_behind(redis: Redis) -> None:
    await add(redis, 90, 60, 30)

    lag = lag_of(await seen(redis))
    assert (3, 0) == (lag.undelivered, lag.pending)
    assert 89 < lag.seconds < 100
    assert 0 == lag.pending_seconds

    ((_, entries),) = await redis.xreadgroup(GROUP, "one", {STREAM: ">"}, 2)
    await redis.xack(STREAM, GROUP, entries[0][0])

    lag = lag_of(await seen(redis))
    assert (1, 1) == (lag.undelivered, lag.pending)
    assert 59 < lag.seconds == lag.pending_seconds < 70


async def test_a_trim_of_what_is_unread_does_not_falsify_it(redis: Redis) -> None:
    await add(redis, *range(90, 80, -1))
    await redis.xreadgroup(GROUP, "one", {STREAM: ">"}, 2)
    await redis.xtrim(STREAM, maxlen=3, approximate=False)
    (group,) = await redis.xinfo_groups(STREAM)

    assert 3 == lag_of(await seen(redis)).undelivered
    # What the server says of it.
    assert 3 != group["lag"]


async def test_a_long_backlog_is_no_longer_counted_one_by_one(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_state, "COUNT_LIMIT", 4)
    await add(redis, *range(20, 10, -1))

    assert 10 == lag_of(await seen(redis)).undelivered


async def test_without_a_group_everything_waits(redis: Redis) -> None:
    await redis.xgroup_destroy(STREAM, GROUP)
    await add(redis, 5, 4)

    lag = lag_of(await seen(redis))

    assert (2, 0) == (lag.undelivered, lag.pending)
    assert 4 < lag.seconds < 15


async def test_a_shard_without_a_stream_is_none(redis: Redis) -> None:
    assert await read_stream(redis, 5) is None


async def test_a_server_that_does_not_answer_is_trouble() -> None:
    with running_valkey() as valkey:
        async with for_jobs(valkey.url) as redis:
            await redis.ping()
            valkey.kill()
            with pytest.raises(TransientError):
                await read_stream(redis, 0)
            valkey.start()
