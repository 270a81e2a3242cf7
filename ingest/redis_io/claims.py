"""Marks of earlier events, set with SET NX GET.

A mark lets the edge answer a repeat as a repeat; PostgreSQL decides. Without Redis every
event is answered as a first one.
"""

import time
from collections.abc import Sequence
from typing import Final

from redis.asyncio import Redis

from ingest.contracts.telemetry import Bounded
from ingest.contracts.variables import DAY_SECONDS
from ingest.core.values import Mark, Missing
from ingest.redis_io.client import QueueFull, describe_error
from ingest.redis_io.multiplexer import Multiplexer, packed

_PENDING: Final = 10_000
#: A Redis that answers now and then would be a line each time.
_SAY_SECONDS: Final = 10.0


class Claims:
    """Sets and reads marks, many in one round trip."""

    def __init__(self, redis: Redis, day_seconds: int = DAY_SECONDS) -> None:
        """`redis` bounds how long an answer may take.

        `day_seconds`: how long a day of an expiry lasts.
        """
        self._day_seconds = day_seconds
        self._marks = Multiplexer(redis, pending=_PENDING)
        self._is_reached = True
        self._unavailable = Bounded("claims.unavailable", time.monotonic, _SAY_SECONDS)

    async def earlier(self, marks: Sequence[Mark]) -> Sequence[bytes | None]:
        """Set the marks, those that exist only if they override; the former values."""
        try:
            asked = [self._marks.ask(self._command(mark)) for mark in marks]
        except QueueFull:
            return [None] * len(marks)
        problem: Exception | None = None
        found: list[bytes | None] = []
        for answer in asked:
            value = await answer
            found.append(value if isinstance(value, bytes) else None)
            if isinstance(value, Exception):
                problem = value
        self._reached(problem)
        return found

    async def recall(self, key: str) -> bytes | Missing:
        """The mark under a key; sets nothing."""
        try:
            found = await self._marks.ask(packed(("GET", key)))
        except QueueFull:
            return Missing.UNAVAILABLE
        problem = found if isinstance(found, Exception) else None
        self._reached(problem)
        if problem is not None:
            return Missing.UNAVAILABLE
        return found if isinstance(found, bytes) else Missing.UNKNOWN

    @property
    def is_reached(self) -> bool:
        """Whether Redis answered when it was last asked."""
        return self._is_reached

    async def stop(self) -> None:
        await self._marks.stop()

    def _reached(self, problem: Exception | None) -> None:
        if problem is not None and self._is_reached:
            self._unavailable.warning(problem=describe_error(problem))
        self._is_reached = problem is None

    def _command(self, mark: Mark) -> bytes:
        """The command that sets a mark and returns its former value."""
        seconds = max(1, mark.seconds * self._day_seconds // DAY_SECONDS)
        unless = () if mark.overrides else ("NX",)
        return packed(("SET", mark.key, mark.value, *unless, "GET", "EX", seconds))
