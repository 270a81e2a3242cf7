"""Permits of the windows that all edges share in Redis.

A subject's window is that of `windows`, by the server's clock. Simultaneous requests of one
subject are served by one run of a script.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

from redis.asyncio import Redis

from ingest.contracts.telemetry import Bounded
from ingest.directory.cache import Lru
from ingest.rate_limit.script import GIVE_BACK, TAKE, LuaScript, ScriptCall
from ingest.rate_limit.windows import BUCKET_MS, KEPT, Count
from ingest.redis_io.client import REDIS_ERRORS, Coalescer, QueueFull

#: The pause between two attempts while Redis is away.
_RETRY_MS: Final = 1000
_LEASES_KEPT: Final = 10_000
#: A Redis that answers now and then would be a line each time.
_SAY_SECONDS: Final = 10.0


def window_key(subject: str) -> str:
    """The key of a subject's window."""
    return f"rt:limit:{subject}"


class Interval(NamedTuple):
    """A time interval in Unix milliseconds; a clock that is set back leaves it, too."""

    since: int
    until: int

    def covers(self, now: int) -> bool:
        return self.since <= now < self.until


class PermitRequest(NamedTuple):
    """A request for one permit, and how many more the edge would lease."""

    subject: str
    limit: int
    spare: int = 0


class Permit(NamedTuple):
    """A granted permit, and the bucket that it is counted in."""

    subject: str
    bucket: int


class _Grant:
    """The permits granted to a group of requests; those they leave are a lease.

    The edge read its clock before the server did. So the server's bucket does not end before
    `_interval`: leased permits are used within the bucket that counts them.
    """

    def __init__(self, reply: Sequence[int], asked_at: int) -> None:
        """`reply` is the reply of `TAKE`."""
        self._left, used, oldest, now = reply
        wait = (oldest + KEPT) * BUCKET_MS - now
        self._count = Count(0, used, wait, now // BUCKET_MS)
        self._interval = Interval(asked_at, asked_at + BUCKET_MS - now % BUCKET_MS)

    def is_lease(self, now: int) -> bool:
        return self._left > 0 and self._interval.covers(now)

    def serve(self) -> Count:
        """One permit, or none."""
        granted = min(1, self._left)
        self._left -= granted
        used = self._count.used - self._left
        return self._count._replace(granted=granted, used=used)


class _Queued(NamedTuple):
    """A waiting request, and the number of Redis failures before it."""

    asks: Sequence[PermitRequest]
    failures: int


class Permits:
    """Takes and returns permits, for many requests in one round trip."""

    def __init__(self, redis: Redis, clock: Callable[[], int]) -> None:
        """`redis` bounds how long an answer may take; `clock` gives Unix ms."""
        self._redis = redis
        self._clock = clock
        self._asks: Coalescer[_Queued, Sequence[Count | None]]
        self._asks = Coalescer(self._answer, in_flight=2)
        self._returns: Coalescer[Sequence[Permit], None]
        self._returns = Coalescer(self._undo, in_flight=1)
        self._leases: Lru[_Grant] = Lru(_LEASES_KEPT)
        self._failures = 0
        self._is_reached = True
        self._away = Interval(0, 0)
        self._unavailable = Bounded("limits.unavailable", time.monotonic, _SAY_SECONDS)

    @property
    def is_reached(self) -> bool:
        """Whether Redis answered when it was last asked."""
        return self._is_reached

    def is_away(self) -> bool:
        """Whether Redis is away; False once a second, so that one caller tries again."""
        now = self._clock()
        if self._is_reached or self._away.covers(now):
            return not self._is_reached
        self._away = Interval(now, now + _RETRY_MS)
        return False

    async def take(self, asks: Sequence[PermitRequest]) -> Sequence[Count | None]:
        """One permit or none for each; None if Redis does not answer."""
        leased = [self._leased(ask) for ask in asks]
        missing = [ask for ask, count in zip(asks, leased, strict=True) if not count]
        if not missing:
            return leased
        try:
            found = iter(await self._asks.ask(_Queued(missing, self._failures)))
        except QueueFull:
            found = iter([None] * len(missing))
        return [count or next(found) for count in leased]

    async def give_back(self, permits: Sequence[Permit]) -> None:
        """Return permits; those that cannot be returned are lost for a minute."""
        with suppress(QueueFull):
            await self._returns.ask(permits)

    def start(self) -> None:
        self._asks.start()
        self._returns.start()

    async def stop(self) -> None:
        await self._asks.stop()
        await self._returns.stop()

    def _leased(self, ask: PermitRequest) -> Count | None:
        lease = self._leases.get(ask.subject) if ask.spare else None
        return lease.serve() if lease and lease.is_lease(self._clock()) else None

    async def _answer(
        self, queued: Sequence[_Queued]
    ) -> Sequence[Sequence[Count | None]]:
        # A request that has waited for one failure does not wait for the next.
        if queued[-1].failures < self._failures:
            return [[None] * len(asks) for asks, _ in queued]
        asked_at = self._clock()
        groups = _grouped([ask for asks, _ in queued for ask in asks])
        replies = await self._run(TAKE, [_call(group) for group in groups.values()])
        grants = {
            what: _Grant(reply, asked_at)
            for what, reply in zip(groups, replies, strict=True)
            if reply is not None
        }
        answers = [
            [grant.serve() if (grant := grants.get(ask[:2])) else None for ask in asks]
            for asks, _ in queued
        ]
        for (subject, _), grant in grants.items():
            if grant.is_lease(asked_at):
                self._leases.put(subject, grant)
        return answers

    async def _undo(self, returned: Sequence[Sequence[Permit]]) -> Sequence[None]:
        counts = Counter(permit for permits in returned for permit in permits)
        calls = [
            ScriptCall(window_key(permit.subject), (permit.bucket, count))
            for permit, count in counts.items()
        ]
        await self._run(GIVE_BACK, calls)
        return [None] * len(returned)

    async def _run(
        self, script: LuaScript, calls: Sequence[ScriptCall]
    ) -> Sequence[Any]:
        """The script's reply to each call; None where there is none."""
        try:
            replies = await script.run(self._redis, calls)
        except REDIS_ERRORS as error:
            replies = [error] * len(calls)
        errors = [reply for reply in replies if isinstance(reply, Exception)]
        self._reached(errors[0] if len(errors) == len(replies) else None)
        return [None if isinstance(item, Exception) else item for item in replies]

    def _reached(self, error: Exception | None) -> None:
        if error:
            now = self._clock()
            self._failures += 1
            self._away = Interval(now, now + _RETRY_MS)
            if self._is_reached:
                problem = f"{type(error).__name__}: {error}"
                self._unavailable.warning(problem=problem)
        self._is_reached = error is None


class _Group(NamedTuple):
    """Simultaneous requests of one subject."""

    ask: PermitRequest
    size: int


def _grouped(asks: Sequence[PermitRequest]) -> dict[tuple[str, int], _Group]:
    sizes = Counter(ask[:2] for ask in asks)
    return {ask[:2]: _Group(ask, sizes[ask[:2]]) for ask in asks}


def _call(group: _Group) -> ScriptCall:
    ask, size = group
    return ScriptCall(
        window_key(ask.subject), (ask.limit, size + ask.spare, BUCKET_MS, KEPT)
    )
