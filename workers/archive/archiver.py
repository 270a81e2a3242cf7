"""Archives one shard.

An entry is acknowledged when its segment is finished. Until then it is pending, and is read
again after a crash, a disk error or an outage. So each entry is archived at least once, and
in order within a segment: pending entries are older than undelivered ones.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from redis.asyncio import Redis

from ingest.contracts.metrics.worker import ARCHIVED
from ingest.contracts.telemetry import Log
from workers.archive.rewrite import mark
from workers.archive.segment import Segment, arrival_day
from workers.archive.stream_reader import (
    FRESH,
    PENDING,
    ArchiveReader,
)
from workers.archive.writer import SegmentWriter
from workers.model.batch import ArchiveBoundary, Delivery, TransientError
from workers.redis_io.connections import StreamReset

_READ_BATCH: Final = 1000


class PseudonymizingWriter(Protocol):
    """Replaces the personal data of erased persons."""

    async def pseudonymize(
        self, deliveries: Sequence[Delivery]
    ) -> tuple[Sequence[Delivery], int]:
        """The deliveries to archive instead, and the version of the suppressions used.

        Raises TransientError.
        """
        ...

    async def review(self, directory: Path, segment: Segment, version: int) -> None:
        """Rewrite a finished segment if the suppressions changed since `version`.

        Removes the segment's review mark, unless the rewrite has to be retried later.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiverConfig:
    """Settings for all shards.

    `owner` is the worker's name, unique among processes. A segment ends after so many
    `seconds`, entries, or bytes of lines, whichever comes first.
    """

    directory: Path
    owner: str
    seconds: float = 300.0
    entries: int = 100_000
    # Redis keeps up to this much of each shard until the segment is finished.
    raw_bytes: int = 32 * 1024 * 1024
    pseudonymizer: PseudonymizingWriter | None = None


class Archiver:
    """The archiving of one shard by one process. All calls raise TransientError."""

    def __init__(
        self,
        redis: Redis,
        shard: int,
        config: ArchiverConfig,
        clock: Callable[[], float],
        boundary: Callable[[ArchiveBoundary], None],
    ) -> None:
        """`clock` gives monotonic seconds."""
        self._reader = ArchiveReader(redis, shard, config.owner)
        self._shard = shard
        self._config = config
        self._clock = clock
        self._boundary = boundary
        #: The epoch of the stream being read; None: join the group again.
        self._epoch: int | None = None
        self._start = PENDING
        self._writer: SegmentWriter | None = None
        #: The version of the suppressions when the open segment was begun.
        self._suppressions_version = 0
        #: When the open segment was begun, or, without one, when the group was joined.
        self._since = 0.0
        #: The epoch and the ids of finished entries that are not acknowledged yet.
        self._unacknowledged: tuple[int, Sequence[str]] = (0, ())
        self._log = Log(shard=shard)

    async def step(self) -> bool:
        """Read once. True: read again without a pause."""
        if not await self._reader.has_lease():
            await self.finish()
            return False
        await self._acknowledge()
        try:
            has_more = await self._read()
        except StreamReset:
            await self.flush()
            self._epoch = None
            return False
        if self._is_due():
            await self.finish()
        return has_more

    async def finish(self) -> None:
        """Finish the open segment and acknowledge its entries."""
        await self.flush()
        await self._acknowledge()

    async def flush(self) -> None:
        """Finish the open segment on disk, without asking Redis."""
        # Entries that are still pending afterwards are read again, and first.
        writer, epoch, self._epoch = self._writer, self._epoch, None
        if writer is None or epoch is None:
            return
        directory, pseudonymizer = self._config.directory, self._config.pseudonymizer
        before = partial(mark, directory) if pseudonymizer else _no_review
        async with self._disk_errors():
            segment = await asyncio.to_thread(writer.finish, before)
        # An entry of several events is a line for each of them.
        ids = list(dict.fromkeys(writer.ids))
        self._writer, self._unacknowledged = None, (epoch, ids)
        ARCHIVED.labels(self._shard).inc(segment.entries)
        self._log.info(
            "archive.written",
            segment=segment.key,
            entries=segment.entries,
            bytes=segment.size,
        )
        if pseudonymizer:
            await pseudonymizer.review(directory, segment, self._suppressions_version)
        self._boundary("archived")

    async def release(self) -> None:
        """Finish, and release the lease so that another worker can continue at once."""
        await self.finish()
        await self._reader.release()

    async def _acknowledge(self) -> None:
        epoch, ids = self._unacknowledged
        if ids:
            await self._reader.ack(epoch, ids)
            self._unacknowledged = (0, ())

    async def _read(self) -> bool:
        if self._epoch is None:
            self._epoch = await self._reader.join()
            self._start, self._since = PENDING, self._clock()
        if self._epoch is None:
            return False
        is_fresh = self._start == FRESH
        deliveries, last = await self._reader.read(
            self._epoch, self._start, _READ_BATCH
        )
        await self._write(self._epoch, deliveries)
        if not is_fresh:
            self._start = last or FRESH
        # A segment has just ended: read what is pending first.
        has_ended = self._epoch is None
        return has_ended or not is_fresh or len(deliveries) >= _READ_BATCH

    async def _write(self, epoch: int, deliveries: Sequence[Delivery]) -> None:
        if not deliveries:
            return
        if pseudonymizer := self._config.pseudonymizer:
            deliveries, version = await pseudonymizer.pseudonymize(deliveries)
            if self._writer is None:
                self._suppressions_version = version
        async with self._disk_errors():
            if self._writer is None:
                config = self._config
                self._writer = await asyncio.to_thread(
                    SegmentWriter, config.directory, config.owner, self._shard, epoch
                )
                self._since = self._clock()
            # A segment holds one day: readers and retention find it by the day.
            day = self._writer.day
            day = arrival_day(deliveries[0].entry) if day is None else day
            today = [each for each in deliveries if arrival_day(each.entry) == day]
            await asyncio.to_thread(self._writer.add, today)
        self._boundary("collected")
        if len(today) < len(deliveries):
            # The others stay pending, and come first in the next segment.
            await self.finish()

    def _is_due(self) -> bool:
        """True without a segment too: another worker may have left entries pending."""
        writer, config = self._writer, self._config
        return self._clock() - self._since >= config.seconds or (
            writer is not None
            and (
                len(writer.ids) >= config.entries or writer.raw_size >= config.raw_bytes
            )
        )

    @asynccontextmanager
    async def _disk_errors(self) -> AsyncIterator[None]:
        try:
            yield
        except OSError as error:
            if self._writer is not None:
                await asyncio.to_thread(self._writer.discard)
            self._writer = self._epoch = None
            raise TransientError(f"the archive: {error}") from error


def _no_review(_key: str) -> None:
    """Without a pseudonymizer, no segment needs a review."""
