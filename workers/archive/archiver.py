"""Writes what arrives in one shard to the archive.

An entry is acknowledged when its segment is finished. Until then it is pending, and is read
again where a process, a disk or a server fails: at least once, and in order within a
segment, since what is pending is older than what nobody was given.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from redis.asyncio import Redis

from ingest.contracts.metrics.worker import ARCHIVED
from ingest.contracts.telemetry import Log
from workers.archive.review import mark
from workers.archive.segment import Segment, arrival_day
from workers.archive.stream_reader import (
    FRESH,
    PENDING,
    ArchiveReader,
    ArchiveStreamReset,
)
from workers.archive.writer import SegmentWriter
from workers.model.batch import ArchiveBoundary, Delivery, TransientError

_READ_BATCH: Final = 1000


class PseudonymizingWriter(Protocol):
    """Who knows what may not be said of erased persons."""

    async def pseudonymize(
        self, deliveries: Sequence[Delivery]
    ) -> tuple[Sequence[Delivery], int]:
        """What may be archived in place of these, by a version of the list. Raises TransientError."""
        ...

    async def review(self, directory: Path, segment: Segment, version: int) -> None:
        """Rewrite a finished segment if the list is another than when it was begun.

        Then it is not marked any more; where that cannot be done now, it stays so.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiverConfig:
    """How to archive, the same for all shards.

    `owner` is the worker's name, which no other process has. A segment ends after so many
    `seconds`, entries, or bytes of lines, whichever comes first.
    """

    directory: Path
    owner: str
    seconds: float = 300.0
    entries: int = 100_000
    # So much of every shard Redis may have to keep for it, which adds up.
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
        """`clock` gives seconds of any beginning."""
        self._reader = ArchiveReader(redis, shard, config.owner)
        self._shard = shard
        self._config = config
        self._clock = clock
        self._boundary = boundary
        #: The life of the stream that is read; None where that is to be found out.
        self._epoch: int | None = None
        self._start = PENDING
        self._writer: SegmentWriter | None = None
        #: Which list of the erased was known when that segment was begun.
        self._suppressions_version = 0
        #: Since when: the segment, or, without one, the reading.
        self._since = 0.0
        #: Finished and not acknowledged, with the life it is of.
        self._unacknowledged: tuple[int, Sequence[str]] = (0, ())
        self._log = Log(shard=shard)

    async def step(self) -> bool:
        """Read once; whether there may be more at once."""
        if not await self._reader.has_lease():
            await self.finish()
            return False
        await self._acknowledge()
        try:
            has_more = await self._read()
        except ArchiveStreamReset:
            await self.flush()
            self._epoch = None
            return False
        if self._is_due():
            await self.finish()
        return has_more

    async def finish(self) -> None:
        """End the segment, and acknowledge what is in it."""
        await self.flush()
        await self._acknowledge()

    async def flush(self) -> None:
        """Have on the disk what was read, whatever becomes of Redis."""
        # What is still pending afterwards is read again, and first.
        writer, epoch, self._epoch = self._writer, self._epoch, None
        if writer is None or epoch is None:
            return
        directory, pseudonymizer = self._config.directory, self._config.pseudonymizer
        before = partial(mark, directory) if pseudonymizer else _no_review
        with self._disk_errors():
            segment = await asyncio.to_thread(writer.finish, before)
        self._writer, self._unacknowledged = None, (epoch, writer.ids)
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
        """End, and let the next one begin at once."""
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
        # Without a life, a segment has just ended, and what is pending is looked at again.
        has_ended = self._epoch is None
        return has_ended or not is_fresh or len(deliveries) == _READ_BATCH

    async def _write(self, epoch: int, deliveries: Sequence[Delivery]) -> None:
        if not deliveries:
            return
        if pseudonymizer := self._config.pseudonymizer:
            deliveries, version = await pseudonymizer.pseudonymize(deliveries)
            if self._writer is None:
                self._suppressions_version = version
        with self._disk_errors():
            if self._writer is None:
                config = self._config
                self._writer = await asyncio.to_thread(
                    SegmentWriter, config.directory, config.owner, self._shard, epoch
                )
                self._since = self._clock()
            # A segment is of one day; by that readers and retention find it.
            day = self._writer.day
            day = arrival_day(deliveries[0].entry) if day is None else day
            today = [each for each in deliveries if arrival_day(each.entry) == day]
            await asyncio.to_thread(self._writer.add, today)
        self._boundary("collected")
        if len(today) < len(deliveries):
            # The others are pending now, and so come first in the next.
            await self.finish()

    def _is_due(self) -> bool:
        """Without a segment too: somebody may have left something pending since."""
        writer, config = self._writer, self._config
        return self._clock() - self._since >= config.seconds or (
            writer is not None
            and (
                len(writer.ids) >= config.entries or writer.raw_size >= config.raw_bytes
            )
        )

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if self._writer is not None:
                self._writer.discard()
            self._writer = self._epoch = None
            raise TransientError(f"the archive: {error}") from error


def _no_review(_key: str) -> None:
    """Nobody reviews it."""
