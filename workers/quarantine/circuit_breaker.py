"""The circuit breaker of the group: recording pauses while it is open.

A pause is a row of `pauses` in PostgreSQL, so it outlives every process. Every worker reads it
twice a second, and `reftide resume` ends it.
"""

import asyncio
from collections import deque
from contextlib import suppress
from itertools import islice, repeat
from typing import Final

from ingest.contracts.metrics.worker import PAUSED
from ingest.contracts.storable import text
from ingest.contracts.telemetry import Log
from workers.model.batch import PausedError, TransientError
from workers.postgres.database import Pool, transaction
from workers.postgres.sql import statements

_SQL: Final = statements("quarantine/circuit_breaker")
_REFRESH_SECONDS: Final = 0.5
_DETAIL_CHARS: Final = 500

#: The limits: entries in a row, or of the last thousand.
_MAX_IN_ROW: Final = 50
_MAX_OF_RECENT: Final = 100
_RECENT: Final = 1000


class BadEntryLimit:
    """Limits how many entries one worker quarantines for bad data before recording pauses.

    Entries with bad data are rare. If there are many, the worker or the schema is at fault,
    and the stream must not be emptied into quarantine. What clients cause (unknown codes and
    the like) does not count.
    """

    def __init__(
        self, max_in_row: int = _MAX_IN_ROW, max_of_recent: int = _MAX_OF_RECENT
    ) -> None:
        """Pause at `max_in_row` rejected entries without a recorded one, or `max_of_recent` of a thousand."""
        self._max_in_row = max_in_row
        self._max_of_recent = max_of_recent
        self._in_row = 0
        #: 1 for a rejected entry, 0 for a recorded one.
        self._recent: deque[int] = deque(maxlen=_RECENT)
        self._allowance = 0

    def judge(self, good: int, bad: int) -> None:
        """Raise PausedError if committing so many would exceed a limit."""
        counted = max(0, bad - self._allowance)
        if not counted:
            return
        in_row = counted if good else self._in_row + counted
        if good == 0 and in_row >= self._max_in_row:
            self._pause(f"{in_row} entries in a row could not be recorded")
        kept = min(len(self._recent), max(0, _RECENT - good - counted))
        max_of_recent = sum(islice(reversed(self._recent), kept)) + counted
        if max_of_recent >= self._max_of_recent:
            recent = kept + good + counted
            self._pause(f"{max_of_recent} of {recent} entries could not be recorded")

    def note(self, good: int, bad: int) -> None:
        """Count what was committed: entries recorded, and entries rejected."""
        counted = max(0, bad - self._allowance)
        self._allowance -= bad - counted
        self._in_row = 0 if good else self._in_row + counted
        self._recent.extend(repeat(0, good))
        self._recent.extend(repeat(1, counted))

    def reset(self, more: int) -> None:
        """Forget all counts, and let so many rejected entries pass uncounted."""
        self._in_row = 0
        self._recent.clear()
        self._allowance = more

    def _pause(self, what: str) -> None:
        raise PausedError("culprits", what)


class CircuitBreaker:
    """Open while the group is paused, and until PostgreSQL was asked once."""

    def __init__(self, pool: Pool, consumer: str, limit: BadEntryLimit) -> None:
        """`limit` is reset when a pause ends."""
        self._pool = pool
        self._consumer = consumer
        self._limit = limit
        self._is_known = False
        self._pause: int | None = None
        self._unsaved: PausedError | None = None
        # One read at a time: an older answer must not replace a newer one.
        self._reading = asyncio.Lock()
        self._log = Log(consumer=consumer)
        PAUSED.set(0)

    @property
    def is_open(self) -> bool:
        return not self._is_known or self.is_paused

    @property
    def is_paused(self) -> bool:
        return self._pause is not None or self._unsaved is not None

    async def pause(self, error: PausedError) -> None:
        """Pause the group; if PostgreSQL is away, as soon as it answers."""
        self._log.error(
            "group.paused",
            cause=error.cause,
            detail=error.detail,
            exc_info=error.__cause__,
        )
        self._unsaved = error
        PAUSED.set(1)
        with suppress(TransientError):
            await self.refresh()

    async def refresh(self) -> None:
        """Store an unsaved pause, and read the state. Raises TransientError."""
        async with self._reading:
            await self._read()

    async def _read(self) -> None:
        unsaved = self._unsaved
        async with transaction(self._pool) as connection:
            if unsaved is not None:
                detail = text(unsaved.detail, _DETAIL_CHARS)
                arguments = (unsaved.cause, detail, self._consumer)
                await connection.execute(_SQL["pause_begin"], *arguments)
            last = await connection.fetchrow(_SQL["pause_last"])
        if self._unsaved is unsaved:
            self._unsaved = None
        self._is_known = True
        if last is not None and last["is_on"]:
            if last["id"] != self._pause and last["consumer"] != self._consumer:
                cause, detail, by = last["cause"], last["detail"], last["consumer"]
                self._log.warning("group.paused", cause=cause, detail=detail, by=by)
            self._pause = last["id"]
            PAUSED.set(1)
        elif self._pause is not None:
            self._pause = None
            PAUSED.set(0)
            self._limit.reset(last["allowed"] if last else 0)
            self._log.warning("group.resumed")


async def keep_refreshing(breaker: CircuitBreaker, stop: asyncio.Event) -> None:
    """Refresh until stopped; while PostgreSQL is away, the last state holds."""
    while not stop.is_set():
        with suppress(TransientError):
            await breaker.refresh()
        with suppress(TimeoutError):
            async with asyncio.timeout(_REFRESH_SECONDS):
                await stop.wait()
