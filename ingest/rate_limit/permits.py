"""Permits of the windows that all edges share in Redis.

A subject's window is what `windows` describes, by the server's clock. All who ask for the
same subject in the same moment are served by one run of a script.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

from redis.asyncio import Redis

from ingest.contracts.telemetry import Log
from ingest.directory.cache import Lru
from ingest.rate_limit.script import GIVE_BACK, TAKE, Script, ScriptCall
from ingest.rate_limit.windows import BUCKET_MS, KEPT, Count
from ingest.redis_io.client import REDIS_ERRORS, Coalescer, QueueFull

#: While Redis is away, it is asked again so often.
_AWAY_MS: Final = 1000
_LEASES_KEPT: Final = 10_000


def window_key(subject: str) -> str:
    """Where a subject's window is."""
    return f"rt:limit:{subject}"


class Spell(NamedTuple):
    """A while, in Unix milliseconds; it is over, too, if the clock was set back."""

    since: int
    until: int

    def covers(self, now: int) -> bool:
        return self.since <= now < self.until


class PermitRequest(NamedTuple):
    """Somebody wants one permit, and the edge has a use for some more."""

    subject: str
    limit: int
    spare: int = 0


class Permit(NamedTuple):
    """One that was granted, and the bucket that it is counted in."""

    subject: str
    bucket: int


class _Grant:
    """What was granted to a crowd; what the crowd leaves of it is a lease.

    The edge looked at its clock before the server did at its own. So the server's bucket
    is not over before `_spell` is: what is leased is used in the bucket it counts in.
    """

    def __init__(self, reply: Sequence[int], asked_at: int) -> None:
        """`reply` is what `TAKE` answers."""
        self._left, used, oldest, now = reply
        wait = (oldest + KEPT) * BUCKET_MS - now
        self._count = Count(0, used, wait, now // BUCKET_MS)
        self._spell = Spell(asked_at, asked_at + BUCKET_MS - now % BUCKET_MS)

    def is_lease(self, now: int) -> bool:
        return self._left > 0 and self._spell.covers(now)

    def serve(self) -> Count:
        """One permit, or none."""
        granted = min(1, self._left)
        self._left -= granted
        used = self._count.used - self._left
        return self._count._replace(granted=granted, used=used)


class _Queued(NamedTuple):
    """What one request asks, and how often Redis had failed by then."""

    asks: Sequence[PermitRequest]
    failures: int


class Permits:
    """Takes and gives back permits, for many requests in one round trip."""

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
        self._away = Spell(0, 0)
        self._log = Log()

    @property
    def is_reached(self) -> bool:
        """Whether Redis answered when it was last asked."""
        return self._is_reached

    def is_away(self) -> bool:
        """Whether asking is useless now; once a second, somebody is told to try."""
        now = self._clock()
        if self._is_reached or self._away.covers(now):
            return not self._is_reached
        self._away = Spell(now, now + _AWAY_MS)
        return False

    async def take(self, asks: Sequence[PermitRequest]) -> Sequence[Count | None]:
        """One permit or none for each; None where Redis does not say."""
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
        """Undo permits; what Redis does not take back is lost for a minute."""
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
        # Whoever has waited for one failure does not wait for the next.
        if queued[-1].failures < self._failures:
            return [[None] * len(asks) for asks, _ in queued]
        asked_at = self._clock()
        crowds = _crowds([ask for asks, _ in queued for ask in asks])
        replies = await self._run(TAKE, [_call(crowd) for crowd in crowds.values()])
        grants = {
            what: _Grant(reply, asked_at)
            for what, reply in zip(crowds, replies, strict=True)
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

    async def _run(self, script: Script, calls: Sequence[ScriptCall]) -> Sequence[Any]:
        """What the script answers to each call; None where it does not."""
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
            self._away = Spell(now, now + _AWAY_MS)
            if self._is_reached:
                problem = f"{type(error).__name__}: {error}"
                self._log.warning("limits.unavailable", problem=problem)
        self._is_reached = error is None


class _Crowd(NamedTuple):
    """All who ask for the same at once."""

    ask: PermitRequest
    size: int


def _crowds(asks: Sequence[PermitRequest]) -> dict[tuple[str, int], _Crowd]:
    sizes = Counter(ask[:2] for ask in asks)
    return {ask[:2]: _Crowd(ask, sizes[ask[:2]]) for ask in asks}


def _call(crowd: _Crowd) -> ScriptCall:
    ask, size = crowd
    return ScriptCall(
        window_key(ask.subject), (ask.limit, size + ask.spare, BUCKET_MS, KEPT)
    )
