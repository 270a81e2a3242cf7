"""The replay job: a poke each second, and chunks of at most ten seconds.

All state is in PostgreSQL. A poke enqueues as many chunks as there are free parts, so that
all workers share them. A lost queue or a killed worker costs no more than one lease time.
"""

import asyncio
import time
from functools import partial
from typing import Any, Final

from arq.connections import ArqRedis
from arq.cron import CronJob, cron
from arq.worker import Function, func
from typing_extensions import override

from workers.jobs.arq_host import JobSet
from workers.model.batch import PausedError
from workers.pipeline.pipeline import Pipeline
from workers.replay.archive_pages import Wanted, page_size
from workers.replay.frame_filter import FrameFilters
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
from workers.replay.read_ahead import ReadAhead
from workers.replay.sources import Cursor, ReplayPage, ReplaySources

QUEUE: Final = "rt:arq:replay"

_CHUNK: Final = "replay_chunk"
_CHUNK_SECONDS: Final = 5.0
#: When arq cancels a chunk. Not reached: pages have limits of their own.
_TIMEOUT_SECONDS: Final = 60
_MAX_CHUNKS: Final = 16
#: Job ids change after so long, so that a chunk lost with its worker is enqueued again.
_JOB_ID_MS: Final = 5000


#: Up to this rate, a replay leaves half of the time to live traffic, however long pages take.
_MODEST_RATE: Final = 2000
#: The pause after a page, as a part of the time that the page took, by how many seconds live
#: recording is behind at most. Where nothing waits, nobody is in its way.
_PAUSES: Final = ((0.0, 0.0), (0.5, 0.25), (2.0, 1.0))
_LONG_PAUSE: Final = 4.0


class ReplayJob(JobSet):
    """The jobs of replays."""

    def __init__(self, pipeline: Pipeline, sources: ReplaySources) -> None:
        """Replays in the process of a worker that has this pipeline."""
        super().__init__(QUEUE)
        self.replayer = PageReplayer(pipeline)
        self._pipeline = pipeline
        self._sources = sources
        self._filters = FrameFilters(pipeline.pool, sources.archive)

    @override
    def crons(self) -> list[CronJob]:
        async def poke(ctx: dict[Any, Any], *_: object, **__: object) -> None:
            await self.run("replay_poke", partial(self._poke, ctx["redis"]))

        return [cron(poke, name="replay_poke", second=None, timeout=_TIMEOUT_SECONDS)]

    @override
    def functions(self) -> list[Function]:
        async def chunk(ctx: dict[Any, Any]) -> None:
            # One chunk at a time: live traffic comes first.
            if await self.run("replay", self.work):
                await self.run("replay_poke", partial(self._poke, ctx["redis"]))

        return [func(chunk, name=_CHUNK, timeout=_TIMEOUT_SECONDS, max_tries=1)]

    async def work(self) -> None:
        """Replay free parts until none is left, or the chunk's time is over.

        Raises TransientError.
        """
        pool = self._pipeline.pool
        until = time.monotonic() + _CHUNK_SECONDS
        while time.monotonic() < until:
            part = await take(pool, self._pipeline.new_id())
            if part is None:
                return
            try:
                await self._work(part, until)
            except PausedError as paused:
                cause = str(paused)
                self.log.warning("replay.paused", id=str(part.replay_id), cause=cause)
                await pause(pool, part)
            finally:
                await release(pool, part)

    async def _work(self, part: Part, until: float) -> None:
        """Replay one part until it ends, is stopped, or the time is over."""
        cursor = part.cursor
        wanted = self._filters.of(part) if part.request.is_filtered else None
        await asyncio.sleep(min(part.wait, _CHUNK_SECONDS))
        pages = ReadAhead(partial(self._read, part, wanted))
        try:
            while (began := time.monotonic()) < until:
                progress, cursor = await self._step(part, cursor, pages)
                if cursor is None or not progress.is_running:
                    return
                now = time.monotonic()
                rest = max(progress.wait, (now - began) * await self._pause(part))
                await asyncio.sleep(min(rest, max(0.0, until - now)))
        finally:
            await pages.close()

    async def _pause(self, part: Part) -> float:
        """The pause after a page, as a part of the time that the page took."""
        if (rate := part.request.rate) is not None:
            return min(1.0, _MODEST_RATE / rate)
        lag = await self._sources.lag(part.shard)
        return next((pause for most, pause in _PAUSES if lag <= most), _LONG_PAUSE)

    async def _step(
        self, part: Part, cursor: Cursor | None, pages: ReadAhead
    ) -> tuple[RunningReplay, Cursor | None]:
        if cursor is None:
            span = (part.request.from_ms, part.request.to_ms)
            cursor, expected, damage = await self._sources.begin(part.shard, span)
            step = Step(cursor, expected=expected, damage=damage)
            return await self.replayer.replay_page(part, [], step), cursor
        page = await pages.page(cursor)
        step = Step(page.next, page.read, damage=page.damage)
        return await self.replayer.replay_page(part, page.deliveries, step), page.next

    async def _read(
        self, part: Part, wanted: Wanted | None, cursor: Cursor
    ) -> ReplayPage:
        request = part.request
        span = (request.from_ms, request.to_ms)
        count = page_size(request.rate)
        return await self._sources.page(part.shard, cursor, span, count, wanted)

    async def _poke(self, redis: ArqRedis) -> None:
        free = await count_free(self._pipeline.pool)
        now = self._pipeline.clock() // _JOB_ID_MS
        for number in range(min(free, _MAX_CHUNKS)):
            await redis.enqueue_job(
                _CHUNK, _job_id=f"{_CHUNK}:{number}:{now}", _queue_name=self.queue
            )
