"""The replay job: a poke each second, and chunks of at most ten seconds.

All state is in PostgreSQL. A poke enqueues as many chunks as there are free parts, so that
all workers share them. A lost queue or a killed worker costs no more than one lease time.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self
from uuid import UUID

from arq.connections import ArqRedis
from arq.cron import CronJob, cron
from arq.worker import Function, func

from ingest.contracts.metrics.worker import JOBS
from ingest.contracts.telemetry import Log
from workers.model.batch import PausedError
from workers.pipeline.pipeline import Pipeline
from workers.postgres.database import Pool
from workers.quarantine.bad_entry_limit import BadEntryLimit
from workers.replay.archive_pages import page_size
from workers.replay.leases import (
    Part,
    RunningReplay,
    Step,
    count_free,
    pause,
    release,
    take,
)
from workers.replay.page import PageReplayer
from workers.replay.request import DEFAULT_RATE
from workers.replay.sources import Cursor, ReplaySources

QUEUE: Final = "rt:arq:replay"

_CHUNK: Final = "replay_chunk"
_CHUNK_SECONDS: Final = 5.0
#: When arq cancels a chunk. Not reached: pages have limits of their own.
_TIMEOUT_SECONDS: Final = 60
_MAX_CHUNKS: Final = 16
#: Job ids change after so long, so that a chunk lost with its worker is enqueued again.
_JOB_ID_MS: Final = 5000


def _pause_ratio(rate: int) -> float:
    """The pause after a page, as a part of the time that the page took.

    On busy machines a page takes long; at the default rate a replay then leaves half of the
    time to live traffic. Higher rates leave less.
    """
    return min(1.0, DEFAULT_RATE / rate)


@dataclass(slots=True, kw_only=True)
class ReplayJob:
    """The jobs of replays.

    `unix_ms` gives Unix milliseconds, `clock` monotonic seconds.
    """

    pool: Pool
    sources: ReplaySources
    replayer: PageReplayer
    new_id: Callable[[], UUID]
    unix_ms: Callable[[], int]
    clock: Callable[[], float] = time.monotonic
    queue: str = QUEUE
    _is_busy: bool = False
    _is_failing: bool = False
    _log: Log = field(default_factory=Log)

    @classmethod
    def for_worker(cls, pipeline: Pipeline, sources: ReplaySources) -> Self:
        """Replays in the process of a worker that has this pipeline."""
        # A consumer name of its own, so that it never waits for the consumer's ledger rows,
        # and no boundary: tests that name one mean the consumer's.
        ours = replace(
            pipeline,
            consumer=f"{pipeline.consumer}/replay",
            boundary=lambda _: None,
            limit=BadEntryLimit(),
        )
        return cls(
            pool=pipeline.pool,
            sources=sources,
            replayer=PageReplayer(ours),
            new_id=pipeline.new_id,
            unix_ms=pipeline.clock,
        )

    def crons(self) -> list[CronJob]:
        """The poke."""

        async def poke(ctx: dict[Any, Any], *_: object, **__: object) -> None:
            await self._run(lambda: self._poke(ctx["redis"]))

        return [cron(poke, name="replay_poke", second=None, timeout=_TIMEOUT_SECONDS)]

    def functions(self) -> list[Function]:
        """The chunk."""

        async def chunk(ctx: dict[Any, Any]) -> None:
            # One chunk at a time: live traffic comes first.
            if self._is_busy:
                return
            self._is_busy = True
            try:
                await self._run(self.work)
                await self._run(lambda: self._poke(ctx["redis"]))
            finally:
                self._is_busy = False

        return [func(chunk, name=_CHUNK, timeout=_TIMEOUT_SECONDS, max_tries=1)]

    async def work(self) -> None:
        """Replay one part until it ends, is stopped, or the chunk's time is over.

        Raises TransientError.
        """
        part = await take(self.pool, self.new_id())
        if part is None:
            return
        try:
            await self._work(part)
        except PausedError as paused:
            self._log.warning(
                "replay.paused", id=str(part.replay_id), cause=str(paused)
            )
            await pause(self.pool, part)
        finally:
            await release(self.pool, part)

    async def _work(self, part: Part) -> None:
        until = self.clock() + _CHUNK_SECONDS
        cursor = part.cursor
        await asyncio.sleep(min(part.wait, _CHUNK_SECONDS))
        while (began := self.clock()) < until:
            progress, cursor = await self._step(part, cursor)
            if cursor is None or not progress.is_running:
                return
            now = self.clock()
            rest = max(progress.wait, (now - began) * _pause_ratio(part.request.rate))
            await asyncio.sleep(min(rest, max(0.0, until - now)))

    async def _step(
        self, part: Part, cursor: Cursor | None
    ) -> tuple[RunningReplay, Cursor | None]:
        request = part.request
        span = (request.from_ms, request.to_ms)
        if cursor is None:
            cursor, expected = await self.sources.begin(part.shard, span)
            step = Step(cursor, expected=expected)
            return await self.replayer.replay_page(part, [], step), cursor
        count = page_size(request.rate)
        page = await self.sources.page(part.shard, cursor, span, count)
        step = Step(page.next, page.read)
        return await self.replayer.replay_page(part, page.deliveries, step), page.next

    async def _poke(self, redis: ArqRedis) -> None:
        free = await count_free(self.pool)
        now = self.unix_ms() // _JOB_ID_MS
        for number in range(min(free, _MAX_CHUNKS)):
            await redis.enqueue_job(
                _CHUNK, _job_id=f"{_CHUNK}:{number}:{now}", _queue_name=self.queue
            )

    async def _run(self, body: Callable[[], Awaitable[None]]) -> None:
        try:
            await body()
        except Exception as error:  # noqa: BLE001 -- the next poke tries again, whatever it was
            JOBS.labels("replay", "failed").inc()
            if not self._is_failing:
                cause = f"{type(error).__name__}: {error}"
                self._log.warning("job.failed", job="replay", cause=cause)
            self._is_failing = True
        else:
            self._is_failing = False
