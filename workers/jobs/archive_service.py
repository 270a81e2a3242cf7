"""Runs the archive of one worker: archiving, retention, erasures, uploads."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Final

from redis.asyncio import Redis

from ingest.contracts.metrics.worker import UPLOAD_DELAYS
from ingest.contracts.telemetry import Log
from workers.archive.archiver import Archiver, ArchiverConfig
from workers.archive.object_store.fetch import SegmentFetcher
from workers.archive.object_store.inventory import delete_stored
from workers.archive.object_store.store import ObjectStore
from workers.archive.object_store.upload import Uploader, UploadReporter
from workers.archive.retention import delete_abandoned, delete_old
from workers.erasure.archives import ArchivePseudonymizer, keep_pseudonymized
from workers.model.batch import ArchiveBoundary, TransientError
from workers.postgres.database import Pool
from workers.redis_io.connections import redis_errors
from workers.settings import Archiving
from workers.stream.consumer import backoff, is_set_within
from workers.stream.liveness import live_workers

#: Between two reads of a shard that had nothing new.
_IDLE_SECONDS: Final = 1.0
_SWEEP_SECONDS: Final = 3600.0
#: Between two checks for new erasures, and for segments to upload: least and most.
_ERASURE_SECONDS: Final = (5.0, 300.0)
_UPLOAD_SECONDS: Final = (5.0, 60.0)
#: Between two reports on uploads.
_REPORT_SECONDS: Final = 5.0


class Archive:
    """The archive's tasks in one worker; it archives the shards it gets the leases of."""

    def __init__(
        self,
        redis: Redis,
        pool: Pool,
        owner: str,
        settings: Archiving,
        stop: asyncio.Event,
        boundary: Callable[[ArchiveBoundary], None],
    ) -> None:
        """`owner` is the worker's name, unique among processes."""
        self._redis = redis
        self._pool = pool
        self._settings = settings
        self._stop = stop
        self._boundary = boundary
        self._fetcher = segment_fetcher(settings)
        self._config = ArchiverConfig(
            directory=settings.directory,
            owner=owner,
            seconds=settings.seconds,
            pseudonymizer=ArchivePseudonymizer(pool),
        )

    async def run(self, shards: Sequence[int], unix_ms: Callable[[], int]) -> None:
        """Archive until stopped; `unix_ms` gives Unix milliseconds."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_pruned(unix_ms))
            group.create_task(self._keep_erased())
            if self._fetcher is not None:
                uploads = UploadReporter(
                    self._redis,
                    self._config.owner,
                    self._settings.directory,
                    self._fetcher.store.name,
                )
                group.create_task(self._keep_uploaded(self._fetcher, uploads, unix_ms))
                group.create_task(self._keep_reporting(uploads, unix_ms))
            for shard in shards:
                group.create_task(self._keep_archiving(shard))

    async def _keep_archiving(self, shard: int) -> None:
        try:
            await self._archive(shard)
        except BaseException:
            # As in the consumer: a task may miss its cancellation, but not this event.
            self._stop.set()
            raise

    async def _archive(self, shard: int) -> None:
        log = Log(shard=shard)
        clock = asyncio.get_running_loop().time
        archiver = Archiver(self._redis, shard, self._config, clock, self._boundary)
        attempts = 0
        while not self._stop.is_set():
            try:
                pause = 0.0 if await archiver.step() else _IDLE_SECONDS
                attempts = 0
            except TransientError as error:
                attempts += 1
                if attempts == 1:
                    log.warning("archive.delayed", cause=str(error))
                # If Redis lost its data, this may be the last copy.
                with suppress(TransientError):
                    await archiver.flush()
                pause = backoff(attempts)
            if pause:
                await is_set_within(self._stop, pause)
        with suppress(TransientError):
            await archiver.release()

    async def _keep_pruned(self, unix_ms: Callable[[], int]) -> None:
        # Not an arq job: that may run on a worker without an archive.
        while not await is_set_within(self._stop, _IDLE_SECONDS):
            with suppress(OSError):
                await asyncio.to_thread(self._delete, unix_ms())
            if await is_set_within(self._stop, _SWEEP_SECONDS):
                return

    async def _keep_erased(self) -> None:
        # Not an arq job either: only a worker on its machine can rewrite an archive.
        failures = 0
        while not await is_set_within(self._stop, _pause(failures, _ERASURE_SECONDS)):
            try:
                with redis_errors():
                    names = await live_workers(self._redis)
                directory = self._config.directory
                await keep_pseudonymized(self._pool, directory, names, self._fetcher)
                failures = 0
            except (TransientError, OSError) as error:
                if not failures:
                    Log().warning("archive.delayed", cause=f"erasing: {error}")
                failures += 1

    async def _keep_uploaded(
        self,
        fetcher: SegmentFetcher,
        uploads: UploadReporter,
        unix_ms: Callable[[], int],
    ) -> None:
        # A task of its own: archiving and trimming must not wait for the store.
        uploader = Uploader(self._settings.directory, fetcher, self._boundary)
        failures = 0
        while not await is_set_within(self._stop, _pause(failures, _UPLOAD_SECONDS)):
            try:
                await self._unless_stopped(uploader.step())
                uploads.succeeded()
                failures = 0
            except (TransientError, OSError) as error:
                UPLOAD_DELAYS.inc()
                uploads.failed(unix_ms(), str(error))
                if not failures:
                    Log().warning("archive.upload_delayed", cause=str(error))
                failures += 1

    async def _keep_reporting(
        self, uploads: UploadReporter, unix_ms: Callable[[], int]
    ) -> None:
        # A task of its own: an upload may wait for the store for minutes.
        while not await is_set_within(self._stop, _REPORT_SECONDS):
            with suppress(TransientError, OSError):
                await uploads.publish(unix_ms())

    async def _unless_stopped(self, work: Coroutine[None, None, object]) -> None:
        """Await `work` until stopped: a store may take minutes to time out."""
        task = asyncio.ensure_future(work)
        stopped = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
        finally:
            for each in (task, stopped):
                each.cancel()
            await asyncio.wait((task, stopped))

    def _delete(self, now_ms: int) -> None:
        settings = self._settings
        directory, keep_days = settings.directory, settings.keep_days
        delete_abandoned(directory, now_ms)
        if not keep_days:
            return
        if self._fetcher is None:
            count = delete_old(directory, keep_days, now_ms)
        else:
            store = self._fetcher.store.name
            count = delete_stored(directory, store, keep_days, now_ms)
        if count:
            Log().info("archive.deleted", count=count)


def segment_fetcher(settings: Archiving | None) -> SegmentFetcher | None:
    """The fetcher of the settings' object store; None if there is no store."""
    if settings is None or settings.store is None:
        return None
    return SegmentFetcher(settings.directory, ObjectStore(settings.store))


def _pause(failures: int, limits: tuple[float, float]) -> float:
    """Seconds until the next attempt: at least and at most so many, doubling."""
    least, most = limits
    return min(least * 2.0 ** min(failures, 10), most)
