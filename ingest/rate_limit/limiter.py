"""May this request still come? A limit holds over all edges of one Redis.

`gate` sees `take`. Every edge counts in its own memory what it admits, and admits no more
than the limit by that count alone; within it, Redis decides. So a request that the edge
knows to be one too many costs no round trip, and while Redis is away each edge enforces
the limits on its own.
"""

from collections.abc import Callable, Sequence
from math import ceil
from typing import Final, NamedTuple

from redis.asyncio import Redis

from ingest.core.values import Demand
from ingest.dialects.spec import Usage
from ingest.directory.cache import Lru
from ingest.rate_limit.permits import Permit, PermitRequest, Permits, Spell
from ingest.rate_limit.windows import Count, Windows

#: For so long a refusal by Redis stands unasked: no longer, because a permit may be
#: given back that was taken for a request which another limit refused.
_REFUSAL_MS: Final = 1000
_REFUSALS_KEPT: Final = 20_000

#: Leased at once, of what this edge admitted in the second before. What is leased and
#: not used is lost, so that this bounds how much of a limit may be.
_LEASED_PART: Final = 8


class _Refusal(NamedTuple):
    """What Redis said to the last one who was refused."""

    limit: int
    verdict: Count
    spell: Spell

    def stands(self, demand: Demand, now: int) -> bool:
        return self.limit == demand.per_minute and self.spell.covers(now)

    def at(self, now: int) -> Count:
        wait = self.verdict.wait - (now - self.spell.since)
        return self.verdict._replace(wait=wait)


_Verdict = tuple[Demand, Count]


class Limiter:
    """Counts requests, and says which are too many.

    While Redis answers, no 61 seconds see more of a subject admitted than its limit; by
    one edge they never do, unless it forgot the subject over thousands of others. A
    subject that wants more than its limit all the time gets it every 62 seconds.
    """

    def __init__(self, redis: Redis, clock: Callable[[], int]) -> None:
        """`redis` bounds how long an answer may take; `clock` gives Unix ms."""
        self._clock = clock
        self._permits = Permits(redis, clock)
        self._own = Windows()
        self._refusals: Lru[_Refusal] = Lru(_REFUSALS_KEPT)

    async def take(self, demands: Sequence[Demand]) -> Usage | None:
        """How the demands stand after this request; None where there are none.

        It tells of the tightest: of the one refused, else of the one with least left.
        `reset` is when the first of the used permits comes free.
        A request that is refused takes nothing of any of them. For a round trip it may
        seem to: others may then be refused too early, never admitted too much.
        """
        if not demands:
            return None
        verdicts = self._refused_lately(demands) or self._take_own(demands)
        if _admit(verdicts) and not self._permits.is_away():
            verdicts = await self._take_shared(verdicts)
        return _usage(verdicts, self._clock())

    @property
    def is_reached(self) -> bool:
        """Whether Redis answered when it was last asked."""
        return self._permits.is_reached

    def start(self) -> None:
        self._permits.start()

    async def stop(self) -> None:
        await self._permits.stop()

    def _refused_lately(self, demands: Sequence[Demand]) -> list[_Verdict]:
        """What Redis need not be asked: those of the demands that it has refused."""
        now, verdicts = self._clock(), []
        for demand in demands:
            refusal = self._refusals.get(demand.subject)
            if refusal and refusal.stands(demand, now):
                verdicts.append((demand, refusal.at(now)))
        return verdicts

    def _take_own(self, demands: Sequence[Demand]) -> list[_Verdict]:
        now = self._clock()
        verdicts = [
            (demand, self._own.of(demand.subject).take(demand.per_minute, now))
            for demand in demands
        ]
        if not _admit(verdicts):
            self._give_back_own(verdicts)
        return verdicts

    def _give_back_own(self, verdicts: Sequence[_Verdict]) -> None:
        for demand, count in verdicts:
            if count.granted:
                self._own.of(demand.subject).give_back(count.bucket)

    async def _take_shared(self, own: Sequence[_Verdict]) -> list[_Verdict]:
        """What Redis says, and where it says nothing, what this edge said."""
        found = await self._permits.take([self._ask(*verdict) for verdict in own])
        verdicts = [
            (demand, shared or mine)
            for (demand, mine), shared in zip(own, found, strict=True)
        ]
        if not _admit(verdicts):
            self._give_back_own(own)
            self._remember(verdicts)
            taken = [
                Permit(demand.subject, shared.bucket)
                for (demand, _), shared in zip(own, found, strict=True)
                if shared and shared.granted
            ]
            if taken:
                await self._permits.give_back(taken)
        return verdicts

    def _ask(self, demand: Demand, own: Count) -> PermitRequest:
        spare = 0
        if not demand.asks:
            lately = self._own.of(demand.subject).taken_in(own.bucket - 1)
            spare = lately // _LEASED_PART
        return PermitRequest(demand.subject, demand.per_minute, spare)

    def _remember(self, verdicts: Sequence[_Verdict]) -> None:
        now = self._clock()
        for demand, count in verdicts:
            if not count.granted:
                spell = Spell(now, now + min(count.wait, _REFUSAL_MS))
                refusal = _Refusal(demand.per_minute, count, spell)
                self._refusals.put(demand.subject, refusal)


def _admit(verdicts: Sequence[_Verdict]) -> bool:
    return all(count.granted for _, count in verdicts)


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
