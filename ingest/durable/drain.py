"""Sends spooled events to the stream when it takes events again.

Oldest first, under their own ids, and at a limited rate, so that new events take precedence.
After a crash, events that were appended and not yet removed are sent again; workers
recognise them by their ids.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from ingest.contracts.telemetry import Log
from ingest.durable.degradation import Level
from ingest.durable.spool.spool import Spool, SpoolBatch
from ingest.durable.stream import PendingAppend, Stream

_MAX_BATCH: Final = 500
#: The pause when there is nothing to send, and after a failed batch.
_IDLE_SECONDS: Final = 0.25
#: The pause between two searches for stores of edges that are gone.
_ADOPT_SECONDS: Final = 2.0


class Drainer:
    """One edge's drain."""

    def __init__(
        self, spool: Spool, stream: Stream, level: Callable[[], Level], rate: int
    ) -> None:
        """Sends at most `rate` events a second, while `level` is STREAM."""
        self._spool = spool
        self._stream = stream
        self._level = level
        self._per_batch = min(_MAX_BATCH, max(1, rate // 10))
        self._rate = rate
        self._sent = 0
        self._is_stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._log = Log()

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(work) for work in (self._drain(), self._adopt())
        ]

    async def stop(self) -> None:
        """Return after the current batch."""
        self._is_stopping.set()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _adopt(self) -> None:
        while not self._is_stopping.is_set():
            await self._spool.adopt()
            await self._pause(_ADOPT_SECONDS)

    async def _drain(self) -> None:
        while not self._is_stopping.is_set():
            sent = 0
            if not self._spool.is_empty and self._level() is Level.STREAM:
                # Disk errors are retried.
                with suppress(OSError):
                    sent = await self._send_batch()
            await self._pause(sent / self._rate if sent else _IDLE_SECONDS)

    async def _send_batch(self) -> int:
        batch = await self._spool.take(self._per_batch)
        sent = await self._send(batch) if batch else 0
        self._sent += sent
        if self._spool.is_empty and self._sent:
            self._log.info("spool.drained", events=self._sent)
            self._sent = 0
        return sent

    async def _send(self, batch: SpoolBatch) -> int:
        problems = await self._stream.append_each(
            [PendingAppend(*one.item) for one in batch.kept]
        )
        sent = [
            one
            for one, problem in zip(batch.kept, problems, strict=True)
            if problem is None
        ]
        if sent:
            await self._spool.remove(batch, sent)
        return len(sent)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._is_stopping.wait()
