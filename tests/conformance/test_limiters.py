"""What the gate relies on, of a limiter that reaches Redis and of one that does not."""

import asyncio
from collections.abc import AsyncIterator
from itertools import cycle
from pathlib import Path

import pytest
from redis.asyncio import Redis

from ingest.core.values import Demand
from ingest.rate_limit.limiter import SharedLimiter
from ingest.rate_limit.permits import window_key
from ingest.redis_io.client import connect
from tests.support.edge.limiting import MovingClock, admitted, most_within, pass_seconds


class Stage:
    """A limiter and its time."""

    def __init__(self, redis: Redis, shared: Redis | None) -> None:
        self.clock = MovingClock()
        self.limiter = SharedLimiter(redis, self.clock)
        self._shared = shared

    async def keys(self) -> list[bytes]:
        """The windows in Redis, if it is reached."""
        return await self._shared.keys(window_key("*")) if self._shared else []

    async def pass_seconds(self, seconds: int) -> None:
        await pass_seconds(seconds, self.clock, self._shared)


@pytest.fixture(params=["memory", "redis"])
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    is_reached = request.param == "redis"
    nowhere = f"unix://{tmp_path}/nobody.sock"
    url = request.getfixturevalue("redis_url") if is_reached else nowhere
    redis = connect(url, connections=4)
    stage = Stage(redis, redis if is_reached else None)
    stage.limiter.start()
    yield stage
    await stage.limiter.stop()
    await redis.aclose()


@pytest.fixture(params=["asks", "may lease"])
def asks(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "asks")


async def test_without_demands_there_is_nothing_to_say(stage: Stage) -> None:
    assert await stage.limiter.take([]) is None


async def test_what_remains_is_told_down_to_the_refusal(
    stage: Stage,
    asks: bool,  # noqa: FBT001 -- a fixture
) -> None:
    usages = [await stage.limiter.take([Demand("a", 3, asks)]) for _ in range(5)]

    told = [
        (usage.limit, usage.remaining, usage.is_admitted, usage.retry_after > 0)
        for usage in usages
        if usage
    ]
    passed = [(3, 2, True, False), (3, 1, True, False), (3, 0, True, False)]
    assert [*passed, (3, 0, False, True), (3, 0, False, True)] == told


async def test_of_a_burst_the_limit_is_admitted(
    stage: Stage,
    asks: bool,  # noqa: FBT001 -- a fixture
) -> None:
    demand = Demand("a", 60, asks)
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(admitted(stage.limiter, demand)) for _ in range(150)]

    assert 60 == sum(task.result() for task in asked)


async def test_who_was_refused_may_come_when_he_was_told(stage: Stage) -> None:
    demand = Demand("a", 1, asks=True)
    await stage.limiter.take([demand])
    refused = await stage.limiter.take([demand])
    assert refused
    seconds_to_reset = refused.reset - stage.clock() / 1000

    assert 55 < refused.retry_after <= 62
    assert refused.retry_after - 3 < seconds_to_reset <= refused.retry_after + 1
    await stage.pass_seconds(50)
    assert not await admitted(stage.limiter, demand)
    await stage.pass_seconds(refused.retry_after - 50)
    assert await admitted(stage.limiter, demand)


async def test_no_minute_of_a_long_run_admits_more_than_the_limit(
    stage: Stage,
    asks: bool,  # noqa: FBT001 -- a fixture
) -> None:
    arrivals, times = cycle((0, 1, 40, 3, 0, 0, 9, 1, 2, 25, 0)), []
    for _ in range(200):
        for _ in range(next(arrivals)):
            now = stage.clock()
            if await admitted(stage.limiter, Demand("a", 120, asks)):
                times.append(now)
        await stage.pass_seconds(1)

    assert 3 * 120 <= len(times)
    assert most_within(times, 60_000) <= 120


async def test_a_refused_request_takes_nothing_of_any_limit(stage: Stage) -> None:
    wide, narrow = Demand("wide", 3, asks=True), Demand("narrow", 1, asks=True)
    usages = [await stage.limiter.take([wide, narrow]) for _ in range(4)]

    tightest = [(usage.limit, usage.is_admitted) for usage in usages if usage]
    assert [(1, True), (1, False), (1, False), (1, False)] == tightest
    assert [True, True, False] == [
        await admitted(stage.limiter, wide) for _ in range(3)
    ]


async def test_the_limit_with_least_left_is_told_of(stage: Stage) -> None:
    await stage.limiter.take([Demand("wide", 100, asks=True)])
    usage = await stage.limiter.take(
        [Demand("wide", 100, asks=True), Demand("narrow", 50, asks=True)]
    )

    assert usage
    assert (50, 49) == (usage.limit, usage.remaining)


async def test_of_two_refusals_the_longer_wait_is_told(stage: Stage) -> None:
    early, late = Demand("early", 1, asks=True), Demand("late", 1, asks=True)
    await stage.limiter.take([early])
    await stage.pass_seconds(30)
    await stage.limiter.take([late])
    usage = await stage.limiter.take([early, late])

    assert usage
    assert 55 < usage.retry_after <= 62


async def test_subjects_are_counted_apart(stage: Stage) -> None:
    first, second = (Demand(subject, 1, asks=True) for subject in ("a", "b"))

    found = [await admitted(stage.limiter, demand) for demand in (first, second)]
    assert [True, True] == found


async def test_a_limit_of_none_admits_nobody(stage: Stage) -> None:
    usage = await stage.limiter.take([Demand("a", 0, asks=True)])

    assert usage
    assert (0, 0, False) == (usage.limit, usage.remaining, usage.is_admitted)


async def test_a_limit_that_was_raised_counts_at_once(stage: Stage) -> None:
    await stage.limiter.take([Demand("a", 1, asks=True)])
    assert not await admitted(stage.limiter, Demand("a", 1, asks=True))

    assert await admitted(stage.limiter, Demand("a", 2, asks=True))


async def test_redis_is_not_asked_about_a_local_limit(stage: Stage) -> None:
    generous = Demand("local", 150, asks=False, is_local=True)
    usages = [await stage.limiter.take([generous]) for _ in range(152)]

    assert [None] * 150 == usages[:150]
    assert [False, False] == [usage and usage.is_admitted for usage in usages[150:]]
    assert not await stage.keys()


async def test_what_is_told_is_of_the_limits_that_are_shared(stage: Stage) -> None:
    generous = Demand("local", 150, asks=False, is_local=True)
    usage = await stage.limiter.take([generous, Demand("wide", 1000, asks=True)])

    assert usage
    assert (1000, 999) == (usage.limit, usage.remaining)


async def test_what_a_shared_limit_refuses_a_local_one_does_not_count(
    stage: Stage,
) -> None:
    generous = Demand("local", 150, asks=False, is_local=True)
    narrow = Demand("narrow", 1, asks=True)
    for _ in range(300):
        await stage.limiter.take([generous, narrow])

    assert 149 == sum([stage.limiter.admits("local", 150) for _ in range(160)])
