"""Limiters under a clock that tests move, and what their answers add up to."""

import time
from collections.abc import Sequence

from redis.asyncio import Redis
from typing_extensions import override

from ingest.core.values import Demand
from ingest.rate_limit.limiter import SharedLimiter
from ingest.rate_limit.permits import window_key
from ingest.rate_limit.windows import BUCKET_MS


class MovingClock:
    """The wall clock, and what tests added to it."""

    def __init__(self) -> None:
        self.ahead = 0

    def __call__(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead


class StillClock(MovingClock):
    """A clock that only tests move, however long the machine takes."""

    def __init__(self) -> None:
        super().__init__()
        self._began = super().__call__()

    @override
    def __call__(self) -> int:
        return self._began + self.ahead


async def pass_seconds(seconds: int, clock: MovingClock, redis: Redis | None) -> None:
    """Let time pass. Nobody can move the server's clock: its past moves instead."""
    clock.ahead += seconds * 1000
    keys = await redis.keys(window_key("*")) if redis else []
    for key in keys:
        assert redis
        counts = await redis.hgetall(key)
        shift = seconds * 1000 // BUCKET_MS
        moved = {int(bucket) - shift: count for bucket, count in counts.items()}
        # Permits that are still at hand are used without a word to the server.
        rest = max(1, await redis.pttl(key) - seconds * 1000)
        async with redis.pipeline(transaction=True) as pipe:
            pipe.delete(key).hset(key, mapping=moved).pexpire(key, rest)
            await pipe.execute()


async def admitted(limiter: SharedLimiter, demand: Demand) -> bool:
    usage = await limiter.take([demand])
    assert usage
    return usage.is_admitted


def most_within(times: Sequence[int], span: int) -> int:
    """How many of some moments, in order, lie in the fullest span of that length."""
    most, first = 0, 0
    for last, moment in enumerate(times):
        while moment - times[first] >= span:
            first += 1
        most = max(most, last - first + 1)
    return most
