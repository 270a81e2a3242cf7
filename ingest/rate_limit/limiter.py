"""Rate limits that all edges of one Redis share.

Each edge counts in memory what it admits, and never admits more than the limit by its own
count; within that, Redis decides. So a request that exceeds the edge's own count costs no
round trip, and while Redis is away each edge enforces the limits on its own. Redis is never
asked about local demands.
"""

from collections.abc import Callable, Sequence
from math import ceil
from typing import Final, NamedTuple

from redis.asyncio import Redis

from ingest.core.values import Demand
from ingest.dialects.spec.requests import Usage
from ingest.directory.cache import Lru
from ingest.rate_limit.local import LocalLimiter
from ingest.rate_limit.permits import Interval, Permit, PermitRequest, Permits
from ingest.rate_limit.windows import Count, Windows

#: A refusal by Redis is remembered for so long. No longer, since a permit is given back when
#: another limit refuses its request.
_REFUSAL_MS: Final = 1000
_REFUSALS_KEPT: Final = 20_000

#: A lease is this part of what the edge admitted in the last second. Unused leased permits
#: are lost, so this bounds the loss.
_LEASE_DIVISOR: Final = 8


class _Refusal(NamedTuple):
    """The latest refusal by Redis of a subject."""

    limit: int
    verdict: Count
    interval: Interval

    def is_current(self, demand: Demand, now: int) -> bool:
        return self.limit == demand.per_minute and self.interval.covers(now)

    def at(self, now: int) -> Count:
        wait = self.verdict.wait - (now - self.interval.since)
        return self.verdict._replace(wait=wait)


_Verdict = tuple[Demand, Count]


class SharedLimiter:
    """Counts requests and refuses those beyond a limit.

    While Redis answers, no span of 61 seconds has more requests of a subject than its limit.
    For one edge that always holds, unless thousands of other subjects evicted this one. A
    subject that constantly exceeds its limit gets the whole limit every 62 seconds.
    """

    def __init__(
        self,
        redis: Redis,
        clock: Callable[[], int],
        local: LocalLimiter | None = None,
    ) -> None:
        """`redis` bounds how long an answer may take; `clock` gives Unix ms."""
        self._local = local or LocalLimiter()
        self.admits = self._local.admits
        self._clock = clock
        self._permits = Permits(redis, clock)
        self._own = Windows()
        self._refusals: Lru[_Refusal] = Lru(_REFUSALS_KEPT)

    async def take(self, demands: Sequence[Demand]) -> Usage | None:
        """Take a permit of each demand; the usage of the tightest.

        The tightest is the one that refuses, else the one with the fewest permits left. It
        is local only if it refuses. None without such a demand.
        `reset` is when the first used permit becomes free. A refused request takes no
        permits; for the time of a round trip it may seem to, so that others are refused too
        early, but never too many admitted.
        """
        own = self._refused_lately(demands) or self._take_own(demands)
        if not _admit(own):
            return _usage(own, self._clock())
        verdicts = _shared(own)
        if verdicts and not self._permits.is_away():
            verdicts = await self._take_shared(own)
        return _usage(verdicts, self._clock()) if verdicts else None

    @property
    def is_reached(self) -> bool:
        """Whether Redis answered when it was last asked."""
        return self._permits.is_reached

    def start(self) -> None:
        self._permits.start()

    async def stop(self) -> None:
        await self._permits.stop()

    def _refused_lately(self, demands: Sequence[Demand]) -> list[_Verdict]:
        """The demands that Redis has refused a moment ago."""
        now, verdicts = self._clock(), []
        for demand in demands:
            refusal = self._refusals.get(demand.subject)
            if refusal and refusal.is_current(demand, now):
                verdicts.append((demand, refusal.at(now)))
        return verdicts

    def _take_own(self, demands: Sequence[Demand]) -> list[_Verdict]:
        now = self._clock()
        verdicts = [(demand, self._count(demand, now)) for demand in demands]
        if not _admit(verdicts):
            self._give_back_own(verdicts)
        return verdicts

    def _count(self, demand: Demand, now: int) -> Count:
        if demand.is_local:
            return self._local.take(demand.subject, demand.per_minute)
        return self._own.of(demand.subject).take(demand.per_minute, now)

    def _give_back_own(self, verdicts: Sequence[_Verdict]) -> None:
        for demand, count in verdicts:
            if count.granted and demand.is_local:
                self._local.give_back(demand.subject, count.bucket)
            elif count.granted:
                self._own.of(demand.subject).give_back(count.bucket)

    async def _take_shared(self, own: Sequence[_Verdict]) -> list[_Verdict]:
        """Redis' verdicts; this edge's own where Redis does not answer."""
        asked = _shared(own)
        found = await self._permits.take([self._ask(*verdict) for verdict in asked])
        verdicts = [
            (demand, shared or mine)
            for (demand, mine), shared in zip(asked, found, strict=True)
        ]
        if not _admit(verdicts):
            self._give_back_own(own)
            self._remember(verdicts)
            taken = [
                Permit(demand.subject, shared.bucket)
                for (demand, _), shared in zip(asked, found, strict=True)
                if shared and shared.granted
            ]
            if taken:
                await self._permits.give_back(taken)
        return verdicts

    def _ask(self, demand: Demand, own: Count) -> PermitRequest:
        spare = 0
        if not demand.asks:
            lately = self._own.of(demand.subject).taken_in(own.bucket - 1)
            spare = lately // _LEASE_DIVISOR
        return PermitRequest(demand.subject, demand.per_minute, spare)

    def _remember(self, verdicts: Sequence[_Verdict]) -> None:
        now = self._clock()
        for demand, count in verdicts:
            if not count.granted:
                interval = Interval(now, now + min(count.wait, _REFUSAL_MS))
                refusal = _Refusal(demand.per_minute, count, interval)
                self._refusals.put(demand.subject, refusal)


def _admit(verdicts: Sequence[_Verdict]) -> bool:
    return all(count.granted for _, count in verdicts)


def _shared(verdicts: Sequence[_Verdict]) -> list[_Verdict]:
    return [verdict for verdict in verdicts if not verdict[0].is_local]


def _usage(verdicts: Sequence[_Verdict], now: int) -> Usage:
    refused = [verdict for verdict in verdicts if not verdict[1].granted]
    if refused:
        demand, count = max(refused, key=lambda verdict: verdict[1].wait)
    else:
        demand, count = min(verdicts, key=_remaining)
    return Usage(
        limit=demand.per_minute,
        remaining=_remaining((demand, count)),
        reset=ceil((now + count.wait) / 1000),
        is_admitted=not refused,
        retry_after=max(1, ceil(count.wait / 1000)) if refused else 0,
    )


def _remaining(verdict: _Verdict) -> int:
    demand, count = verdict
    return max(0, demand.per_minute - count.used)
