"""Reaping: names of dead workers go, and never anything that is pending."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from ingest.contracts.stream import (
    FIELD,
    GROUP,
    WORKERS_KEY,
    events_key,
    heartbeat_key,
)
from tests.support.eventually import eventually
from workers.redis_io.connections import for_jobs, for_reader
from workers.stream import consumer_gc
from workers.stream.consumer_gc import collect_consumers

STREAM = events_key(0)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with for_jobs(redis_url) as client:
        await client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
        yield client


async def consumer(
    redis: Redis, name: str, *, pending: int = 0, lives: bool = False
) -> None:
    """A worker that once read, has so many entries in hand, and lives or not."""
    await redis.xgroup_createconsumer(STREAM, GROUP, name)
    await redis.sadd(WORKERS_KEY, name)
    for _ in range(pending):
        await redis.xadd(STREAM, {FIELD: b"x"})
        await redis.xreadgroup(GROUP, name, {STREAM: ">"})
    if lives:
        await redis.set(heartbeat_key(name), "1")


async def consumers(redis: Redis) -> list[str]:
    found = await redis.xinfo_consumers(STREAM, GROUP)
    return sorted(each["name"].decode() for each in found)


async def names(redis: Redis) -> list[str]:
    return sorted(name.decode() for name in await redis.smembers(WORKERS_KEY))


async def test_the_dead_are_forgotten_and_the_living_are_not(redis: Redis) -> None:
    await consumer(redis, "dead")
    await consumer(redis, "alive", lives=True)

    with capture_logs() as logs:
        await collect_consumers(redis, [0], gone_after=0)

    assert ["alive"] == await consumers(redis) == await names(redis)
    assert [("consumer.removed", 1, 1)] == [
        (line["event"], line["count"], line["names"]) for line in logs
    ]


async def test_who_has_anything_pending_stays(redis: Redis) -> None:
    await consumer(redis, "dead", pending=2)

    await collect_consumers(redis, [0], gone_after=0)

    assert ["dead"] == await consumers(redis) == await names(redis)
    assert 2 == (await redis.xpending(STREAM, GROUP))["pending"]


async def test_who_was_heard_of_lately_stays(redis: Redis) -> None:
    await consumer(redis, "restarting")

    await collect_consumers(redis, [0], gone_after=3600)

    assert ["restarting"] == await consumers(redis) == await names(redis)


async def test_entries_that_come_while_it_is_looked_at_are_not_thrown_away(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await consumer(redis, "back again")
    look = consumer_gc._without_heartbeat

    async def and_then_it_reads(client: Redis, idle: list[str]) -> list[str]:
        dead = await look(client, idle)
        if idle:
            await consumer(redis, "back again", pending=1)
        return dead

    monkeypatch.setattr(consumer_gc, "_without_heartbeat", and_then_it_reads)
    await collect_consumers(redis, [0], gone_after=0)

    assert 1 == (await redis.xpending(STREAM, GROUP))["pending"]
    assert ["back again"] == await consumers(redis) == await names(redis)


async def test_a_read_that_waits_while_its_consumer_goes_loses_nothing(
    redis: Redis, redis_url: str
) -> None:
    async with for_reader(redis_url) as reader:
        waiting = asyncio.create_task(
            reader.xreadgroup(GROUP, "quiet", {STREAM: ">"}, block=5000)
        )
        await eventually(lambda: _is_blocked(redis))
        await collect_consumers(redis, [0], gone_after=0)
        await redis.xadd(STREAM, {FIELD: b"x"})
        ((_, entries),) = await waiting

    assert 1 == len(entries)
    (pending,) = await redis.xpending_range(STREAM, GROUP, "-", "+", 10)
    assert b"quiet" == pending["consumer"]


async def test_many_names_go_in_several_steps(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer_gc, "_AT_ONCE", 3)
    for number in range(10):
        await consumer(redis, f"pod-{number}", lives=number == 4)

    await collect_consumers(redis, [0], gone_after=0)

    assert ["pod-4"] == await consumers(redis) == await names(redis)


async def test_two_hundred_workers_come_and_go_and_nothing_is_lost(
    redis: Redis,
) -> None:
    for number in range(200):
        await consumer(redis, f"pod-{number}", pending=number % 3)
        if number % 10 == 0:
            await collect_consumers(redis, [0], gone_after=0)
    await collect_consumers(redis, [0], gone_after=0)

    # Those who hold something; what they hold is still there to be taken over.
    assert sum(1 for number in range(200) if number % 3) == len(await consumers(redis))
    assert (
        sum(number % 3 for number in range(200))
        == ((await redis.xpending(STREAM, GROUP))["pending"])
    )
    await redis.xautoclaim(STREAM, GROUP, "heir", 0, count=1000)
    await redis.set(heartbeat_key("heir"), "1")
    await collect_consumers(redis, [0], gone_after=0)
    assert ["heir"] == await consumers(redis)


async def test_shards_without_stream_or_group_are_passed_over(redis: Redis) -> None:
    await redis.xadd(events_key(1), {FIELD: b"x"})
    await consumer(redis, "dead")

    await collect_consumers(redis, [0, 1, 2], gone_after=0)

    assert [] == await consumers(redis)


async def test_names_that_never_read_are_forgotten(redis: Redis) -> None:
    await redis.sadd(WORKERS_KEY, "never read", "starting")
    await redis.set(heartbeat_key("starting"), "1")

    await collect_consumers(redis, [0])

    assert ["starting"] == await names(redis)


async def _is_blocked(redis: Redis) -> bool:
    with suppress(KeyError):
        return bool((await redis.info("clients"))["blocked_clients"])
    return False
