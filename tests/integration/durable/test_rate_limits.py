import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from ingest.core.values import Demand
from ingest.rate_limit.limiter import SharedLimiter
from ingest.rate_limit.permits import Permit, Permits, window_key
from ingest.rate_limit.script import LuaScript, ScriptCall
from ingest.rate_limit.windows import BUCKET_MS, KEPT
from ingest.redis_io import client
from ingest.redis_io.client import REDIS_ERRORS, connect
from tests.support.edge.limiting import (
    MovingClock,
    StillClock,
    admitted,
    most_within,
    pass_seconds,
)
from tests.support.eventually import eventually
from tests.support.servers.valkey import Valkey, running_valkey

SMALL = Demand("small", 60, asks=True)
LEASED = Demand("leased", 600, asks=False)

#: After so long, an edge that lost Redis tries it again.
AGAIN_MS = 1000


@asynccontextmanager
async def edges(
    url: str, count: int, *, clock: MovingClock | None = None
) -> AsyncIterator[list[SharedLimiter]]:
    """Limiters with a client of their own each, as processes have."""
    clients = [connect(url, connections=4) for _ in range(count)]
    limiters = [SharedLimiter(client, clock or MovingClock()) for client in clients]
    for limiter in limiters:
        limiter.start()
    try:
        yield limiters
    finally:
        for limiter, client in zip(limiters, clients, strict=True):
            await limiter.stop()
            await client.aclose()


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running_valkey() as server:
        yield server


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connect(redis_url, connections=4)
    yield client
    await client.aclose()


async def burst(limiters: list[SharedLimiter], demand: Demand, each: int) -> list[int]:
    """How many of a burst each limiter admits."""
    async with asyncio.TaskGroup() as tasks:
        asked = [
            [tasks.create_task(admitted(limiter, demand)) for _ in range(each)]
            for limiter in limiters
        ]
    return [sum(task.result() for task in row) for row in asked]


async def found_again(
    limiters: list[SharedLimiter], clock: MovingClock, redis: Redis
) -> None:
    """Return when every limiter counts in Redis."""
    for number, limiter in enumerate(limiters):
        demand = Demand(f"found {number}", 10_000, asks=True)

        async def counts(
            limiter: SharedLimiter = limiter, demand: Demand = demand
        ) -> bool:
            clock.ahead += AGAIN_MS
            await limiter.take([demand])
            try:
                return bool(await redis.exists(window_key(demand.subject)))
            except REDIS_ERRORS:
                return False

        await eventually(counts)


async def script_runs(redis: Redis) -> int:
    stats = await redis.info("commandstats")
    return sum(
        stats[f"cmdstat_{name}"]["calls"]
        for name in ("eval", "evalsha")
        if f"cmdstat_{name}" in stats
    )


async def test_two_edges_share_one_limit(redis_url: str) -> None:
    async with edges(redis_url, 2) as limiters:
        assert 60 == sum(await burst(limiters, SMALL, 100))
        assert 0 == sum(await burst(limiters, SMALL, 100))


async def test_two_edges_share_a_limit_over_minutes(
    redis: Redis, redis_url: str
) -> None:
    clock, times = MovingClock(), []
    async with edges(redis_url, 2, clock=clock) as limiters:
        for _ in range(140):
            now = clock()
            times += [now] * sum(await burst(limiters, SMALL, 3))
            await pass_seconds(1, clock, redis)

    assert most_within(times, 60_000) <= 60
    assert 2 * 60 <= len(times)


async def test_leases_of_several_edges_stay_within_the_limit(
    redis: Redis, redis_url: str
) -> None:
    clock, times = MovingClock(), []
    async with edges(redis_url, 3, clock=clock) as limiters:
        for _ in range(140):
            for limiter in limiters:
                for _ in range(10):
                    now = clock()
                    times += [now] * await admitted(limiter, LEASED)
            await pass_seconds(1, clock, redis)

    assert most_within(times, 60_000) <= 600
    assert 0.8 * 600 * 140 / 60 <= len(times)


async def test_a_busy_edge_leases_some_and_asks_less(
    redis: Redis, redis_url: str
) -> None:
    clock, many = StillClock(), LEASED._replace(per_minute=60_000)
    async with edges(redis_url, 1, clock=clock) as limiters:
        await burst(limiters, many, 800)
        await pass_seconds(1, clock, redis)
        before = await script_runs(redis)
        taken = sum([await admitted(limiters[0], many) for _ in range(100)])

    assert 100 == taken
    assert await script_runs(redis) - before < 20


async def test_a_lease_is_over_with_its_second(redis: Redis, redis_url: str) -> None:
    clock, many = MovingClock(), LEASED._replace(per_minute=60_000)
    async with edges(redis_url, 1, clock=clock) as limiters:
        for size in (800, 50):
            await burst(limiters, many, size)
            await pass_seconds(1, clock, redis)
        before = await script_runs(redis)
        await admitted(limiters[0], many)

    assert before < await script_runs(redis)


async def test_a_crowd_asks_once(redis: Redis, redis_url: str) -> None:
    async with edges(redis_url, 1) as limiters:
        await burst(limiters, SMALL, 1)
        before = await script_runs(redis)
        await burst(limiters, SMALL, 50)

    assert await script_runs(redis) - before <= 2


async def test_who_was_refused_a_moment_ago_is_refused_without_asking(
    redis: Redis, redis_url: str
) -> None:
    clock = StillClock()
    async with edges(redis_url, 2, clock=clock) as (full, other):
        await burst([full], SMALL, 60)
        await admitted(other, SMALL)
        before = await script_runs(redis)

        assert [0] == await burst([other], SMALL, 50)
        assert before == await script_runs(redis)
        await pass_seconds(1, clock, redis)
        assert [0] == await burst([other], SMALL, 50)
        assert before < await script_runs(redis)


async def test_what_one_limit_refuses_another_edge_may_still_take(
    redis_url: str,
) -> None:
    wide, narrow = Demand("wide", 3, asks=True), Demand("narrow", 1, asks=True)
    async with edges(redis_url, 2) as (one, other):
        await one.take([narrow])
        refused = await other.take([wide, narrow])

        assert refused
        assert (1, False) == (refused.limit, refused.is_admitted)
        assert [3] == await burst([one], wide, 10)


async def test_what_redis_refuses_an_edge_does_not_count_either(
    redis: Redis, redis_url: str
) -> None:
    wide, narrow = Demand("wide", 3, asks=True), Demand("narrow", 1, asks=True)
    clock = MovingClock()
    async with edges(redis_url, 2, clock=clock) as (one, other):
        await one.take([narrow])
        for _ in range(3):
            await other.take([wide, narrow])
            await pass_seconds(1, clock, redis)

        assert [3] == await burst([other], wide, 10)


async def test_a_limit_that_was_raised_counts_at_once(redis_url: str) -> None:
    async with edges(redis_url, 2) as (one, other):
        await burst([one], SMALL, 60)

        assert not await admitted(other, SMALL)
        assert await admitted(other, SMALL._replace(per_minute=61))


async def test_the_clocks_of_the_edges_do_not_matter(redis_url: str) -> None:
    ahead = MovingClock()
    ahead.ahead = 3600 * 1000
    async with (
        edges(redis_url, 1) as (one,),
        edges(redis_url, 1, clock=ahead) as (other,),
    ):
        assert 60 == sum(await burst([one, other], SMALL, 100))


async def test_a_window_leaves_nothing_behind(redis: Redis, redis_url: str) -> None:
    clock, key = MovingClock(), window_key(SMALL.subject)
    async with edges(redis_url, 1, clock=clock) as limiters:
        for _ in range(KEPT + 20):
            await burst(limiters, SMALL, 1)
            await pass_seconds(1, clock, redis)

        assert await redis.hlen(key) <= KEPT
        await burst(limiters, SMALL, 1)
        assert 0 < await redis.pttl(key) <= KEPT * BUCKET_MS


async def test_a_window_that_is_gone_is_not_brought_back(redis: Redis) -> None:
    permits = Permits(redis, MovingClock())
    permits.start()
    await permits.give_back([Permit("gone", 1)])
    await permits.stop()

    assert 0 == await redis.exists(window_key("gone"))


async def test_a_server_that_forgot_the_scripts_is_told_them_again(
    redis: Redis, redis_url: str
) -> None:
    wide, narrow = Demand("wide", 3, asks=True), Demand("narrow", 1, asks=True)
    async with edges(redis_url, 2) as (one, other):
        await one.take([narrow])
        await redis.script_flush()
        await other.take([wide, narrow])

        assert [3] == await burst([one], wide, 10)


async def test_a_window_that_redis_cannot_count_is_counted_by_each_edge(
    redis: Redis, redis_url: str
) -> None:
    await redis.set(window_key(SMALL.subject), "no window")
    other, clock = SMALL._replace(subject="other"), MovingClock()
    async with edges(redis_url, 2, clock=clock) as limiters:
        assert [60, 60] == await burst(limiters, SMALL, 100)
        clock.ahead += AGAIN_MS
        assert [1, 1] == await burst(limiters, other, 1)
        assert 58 == sum(await burst(limiters, other, 100))


@pytest.mark.hasty
async def test_a_frozen_server_leaves_each_edge_to_itself_and_is_said_once(
    valkey: Valkey,
) -> None:
    clock = MovingClock()
    redis = connect(valkey.url, connections=4)
    async with edges(valkey.url, 2, clock=clock) as limiters:
        assert 20 == sum(await burst(limiters, SMALL, 10))
        valkey.freeze()
        began = time.monotonic()
        with capture_logs() as logs:
            assert [60 - 10, 60 - 10] == await burst(limiters, SMALL, 100)
            assert [0, 0] == await burst(limiters, SMALL, 100)
            clock.ahead += AGAIN_MS
            assert [1, 1] == await burst(limiters, SMALL._replace(subject="other"), 1)

        assert time.monotonic() - began < 10
        assert ["limits.unavailable"] * 2 == [line["event"] for line in logs]
        valkey.thaw()
        await found_again(limiters, clock, redis)
        await pass_seconds(KEPT, clock, redis)
        assert 60 == sum(await burst(limiters, SMALL, 100))
    await redis.aclose()


@pytest.mark.hasty
async def test_while_redis_is_away_almost_nobody_waits(valkey: Valkey) -> None:
    clock = MovingClock()
    async with edges(valkey.url, 1, clock=clock) as (limiter,):
        await admitted(limiter, SMALL)
        valkey.freeze()
        await admitted(limiter, SMALL)
        began = time.monotonic()
        for _ in range(50):
            await admitted(limiter, SMALL)

        assert time.monotonic() - began < 3
        valkey.thaw()


@pytest.mark.hasty
async def test_no_crowd_is_too_large_to_wait_for_one_failure_only(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "ANSWER_SECONDS", 5.0)
    asked: list[Sequence[ScriptCall]] = []
    usual = LuaScript.run

    async def run(
        script: LuaScript, redis: Redis, calls: Sequence[ScriptCall]
    ) -> list[Any]:
        asked.append(calls)
        return await usual(script, redis, calls)

    monkeypatch.setattr(LuaScript, "run", run)
    wide = SMALL._replace(per_minute=10_000)
    # Redis is tried again a second later, and a slow machine takes longer than that.
    async with edges(valkey.url, 1, clock=StillClock()) as limiters:
        assert [4000] == await burst(limiters, wide._replace(subject="before"), 4000)
        assert len(asked) > 2
        asked.clear()
        valkey.freeze()
        began = time.monotonic()

        assert [4000] == await burst(limiters, wide, 4000)
        assert time.monotonic() - began >= 5.0
        # Two are under way at once, so they end together; nothing is asked after them.
        assert 1 <= len(asked) <= 2
        valkey.thaw()


async def test_a_restarted_server_is_used_again(valkey: Valkey) -> None:
    clock, redis = MovingClock(), connect(valkey.url, connections=4)
    async with edges(valkey.url, 2, clock=clock) as limiters:
        await burst(limiters, SMALL, 1)
        valkey.kill()
        assert [59, 59] == await burst(limiters, SMALL, 100)
        valkey.start()
        await found_again(limiters, clock, redis)
        await pass_seconds(KEPT, clock, redis)
        assert 60 == sum(await burst(limiters, SMALL, 100))
    await redis.aclose()
