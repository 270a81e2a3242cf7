"""The circuit breaker of the group: recording pauses while it is open.

A pause is a row of `pauses` in PostgreSQL, so it outlives every process. Every worker reads it
twice a second, and `reftide resume` ends it.
"""

import asyncio
from contextlib import suppress
from typing import Final

from ingest.contracts.metrics.worker import PAUSED
from ingest.contracts.storable import text
from ingest.contracts.telemetry import Log
from workers.model.batch import PausedError, TransientError
from workers.postgres.database import Pool, transaction
from workers.postgres.sql import statements
from workers.quarantine.bad_entry_limit import BadEntryLimit

_SQL: Final = statements("quarantine/circuit_breaker")
_REFRESH_SECONDS: Final = 0.5
_DETAIL_CHARS: Final = 500


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
            self._open(last["id"], last["cause"], last["detail"], last["consumer"])
        elif self._pause is not None:
            self._pause = None
            PAUSED.set(0)
            self._limit.reset(last["allowed"] if last else 0)
            self._log.warning("group.resumed")

    def _open(self, pause: int, cause: str, detail: str, consumer: str) -> None:
        if pause != self._pause and consumer != self._consumer:
            self._log.warning("group.paused", cause=cause, detail=detail, by=consumer)
        self._pause = pause
        PAUSED.set(1)


async def keep_refreshing(breaker: CircuitBreaker, stop: asyncio.Event) -> None:
    """Refresh until stopped; while PostgreSQL is away, the last state holds."""
    while not stop.is_set():
        with suppress(TransientError):
            await breaker.refresh()
        with suppress(TimeoutError):
            async with asyncio.timeout(_REFRESH_SECONDS):
                await stop.wait()
