"""Keeps the archive going: every shard that nobody else archives. Used by `main`."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from redis.asyncio import Redis

from ingest.contracts.telemetry import Log
from workers.archive.archiver import Archiver, Manner
from workers.archive.keeping import delete_old, sweep
from workers.batch import ArchiveBoundary, Trouble
from workers.connections import REDIS_TROUBLE
from workers.consumer import backoff, happens
from workers.database import Pool
from workers.erasure.archives import Veiling, keep_swept
from workers.living import living
from workers.settings import Archiving

#: Between two looks at a shard that had nothing more.
_LOOK_SECONDS: Final = 1.0
_SWEEP_SECONDS: Final = 3600.0
#: Between two looks whether somebody was erased.
_ERASED_SECONDS: Final = 5.0


class Archive:
    """What one worker does for the archive."""

    def __init__(
        self,
        redis: Redis,
        pool: Pool,
        owner: str,
        settings: Archiving,
        stop: asyncio.Event,
        boundary: Callable[[ArchiveBoundary], None],
    ) -> None:
        """`owner` is the worker's name, which no other process has."""
        self._redis = redis
        self._pool = pool
        self._settings = settings
        self._stop = stop
        self._boundary = boundary
        self._manner = Manner(
            directory=settings.directory,
            owner=owner,
            seconds=settings.seconds,
            veiling=Veiling(pool),
        )

    async def run(self, shards: Sequence[int], unix_ms: Callable[[], int]) -> None:
        """Archive until stopped; `unix_ms` gives Unix milliseconds."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_small(unix_ms))
            group.create_task(self._keep_erased())
            for shard in shards:
                group.create_task(self._keep_archiving(shard))

    async def _keep_archiving(self, shard: int) -> None:
        try:
            await self._archive(shard)
        except BaseException:
            # As in the consumer: a cancellation may be missed, this not.
            self._stop.set()
            raise

    async def _archive(self, shard: int) -> None:
        log = Log(shard=shard)
        clock = asyncio.get_running_loop().time
        archiver = Archiver(self._redis, shard, self._manner, clock, self._boundary)
        attempts = 0
        while not self._stop.is_set():
            try:
                pause = 0.0 if await archiver.step() else _LOOK_SECONDS
                attempts = 0
            except Trouble as trouble:
                attempts += 1
                if attempts == 1:
                    log.warning("archive.delayed", cause=str(trouble))
                # What was read may be all that is left of it.
                with suppress(Trouble):
                    await archiver.secure()
                pause = backoff(attempts)
            if pause:
                await happens(self._stop, pause)
        with suppress(Trouble):
            await archiver.leave()

    async def _keep_small(self, unix_ms: Callable[[], int]) -> None:
        # No job of arq's: that one may run on a worker that has no archive.
        while not await happens(self._stop, _LOOK_SECONDS):
            with suppress(OSError):
                await asyncio.to_thread(self._delete, unix_ms())
            if await happens(self._stop, _SWEEP_SECONDS):
                return

    async def _keep_erased(self) -> None:
        # Likewise no job: what another machine's archive holds, only that one can rewrite.
        log, is_failing = Log(), False
        while not await happens(self._stop, _ERASED_SECONDS):
            try:
                names = await living(self._redis)
                await keep_swept(self._pool, self._manner.directory, names)
                is_failing = False
            except (Trouble, OSError, *REDIS_TROUBLE) as error:
                if not is_failing:
                    log.warning("archive.delayed", cause=f"erasing: {error}")
                is_failing = True

    def _delete(self, now_ms: int) -> None:
        directory, keep_days = self._settings.directory, self._settings.keep_days
        sweep(directory, now_ms)
        if keep_days and (count := delete_old(directory, keep_days, now_ms)):
            Log().info("archive.deleted", count=count)
