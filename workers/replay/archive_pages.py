"""Reads the archive in small pages.

The archive's reader returns a whole frame, too many entries for one page beside live traffic.
The frame is cached until all of it was taken.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from workers.archive.object_store.fetch import SegmentFetcher
from workers.archive.object_store.inventory import delete_record
from workers.archive.reader import (
    Extent,
    FoundFrames,
    SegmentMissing,
    SegmentPage,
    extent,
    find,
    read_found,
)
from workers.archive.segment import Segment, SegmentDamaged
from workers.model.batch import Delivery, TransientError

#: Small, since a page delays the process' live traffic; high rates get larger pages.
MIN_PAGE: Final = 100
_MAX_PAGE: Final = 1000
#: Without a rate, what is recorded passes in large pages, and the pauses are as much longer.
_FREE_PAGE: Final = 2000
_PAGES_A_SECOND: Final = 20


#: Segments without an entry to read, that one page may pass.
_MOST_PASSED: Final = 8

#: Parts of frames that one page may look through for what is wanted.
_MOST_FRAMES: Final = 32


class Wanted(Protocol):
    """What a replay looks for."""

    async def frames(self, segment: Segment, frames: Sequence[int]) -> Sequence[int]:
        """Those of a segment's frames that may have it. Raises TransientError."""
        ...

    def has(self, payload: bytes) -> bool:
        """Whether an event may be it, at a glance."""
        ...


class ArchivePosition(NamedTuple):
    """The cursor of a frame, and how many of the frame's entries are done."""

    cursor: str | None
    done: int


class Damage(NamedTuple):
    """Entries that cannot be read, as far as they can be counted, and their segments."""

    entries: int = 0
    segments: Sequence[str] = ()

    def plus(self, other: "Damage") -> "Damage":
        """Both."""
        return Damage(self.entries + other.entries, (*self.segments, *other.segments))


NO_DAMAGE: Final = Damage()


class ArchiveTake(NamedTuple):
    """Some entries, and the position after them, None at the end.

    `read` counts entries of other times too, and those of frames that were left out.
    """

    deliveries: Sequence[Delivery]
    after: ArchivePosition | None
    read: int
    damage: Damage = NO_DAMAGE


def page_size(rate: int | None) -> int:
    """Entries in a page at a rate of so many a second."""
    if rate is None:
        return _FREE_PAGE
    return min(_MAX_PAGE, max(MIN_PAGE, rate // _PAGES_A_SECOND))


class ArchivePages:
    """Pages of one archive directory; missing segments are fetched from its object store."""

    def __init__(self, directory: Path, fetcher: SegmentFetcher | None = None) -> None:
        """`fetcher` is None if there is no object store."""
        self._directory = directory
        self._fetcher = fetcher
        self._last: tuple[object, SegmentPage] | None = None

    async def extent(self, shard: int, span: tuple[int, int]) -> Extent:
        """What `take` will read, by the local indexes. Raises OSError."""
        return await asyncio.to_thread(extent, self._directory, *span, shard)

    async def take(
        self,
        shard: int,
        span: tuple[int, int],
        position: ArchivePosition,
        count: int,
        wanted: Wanted | None = None,
    ) -> ArchiveTake:
        """The next entries, and the position after them.

        `span` is the requested time range in Unix milliseconds. Others than what is `wanted` are
        left out. Raises OSError, TransientError.
        """
        found: list[Delivery] = []
        read, damage = 0, NO_DAMAGE
        for _ in range(_MOST_FRAMES):
            most = count if wanted else count - len(found)
            taken = await self._take(shard, span, position, most, wanted)
            found += [
                each
                for each in taken.deliveries
                if wanted is None or wanted.has(each.payload)
            ]
            read, damage = read + taken.read, damage.plus(taken.damage)
            if taken.after is None or len(found) >= count:
                return ArchiveTake(found, taken.after, read, damage)
            position = taken.after
        return ArchiveTake(found, position, read, damage)

    async def _take(
        self,
        shard: int,
        span: tuple[int, int],
        position: ArchivePosition,
        count: int,
        wanted: Wanted | None,
    ) -> ArchiveTake:
        """Of one frame."""
        page = await self._read(shard, span, position.cursor, wanted)
        until = position.done + count
        some = page.deliveries[position.done : until]
        if until < len(page.deliveries):
            return ArchiveTake(some, position._replace(done=until), len(some))
        self._last = None
        after = None if page.next is None else ArchivePosition(page.next, 0)
        damage = Damage(page.damaged, (page.segment,)) if page.damaged else NO_DAMAGE
        read = len(some) + page.skipped + page.damaged
        return ArchiveTake(some, after, read, damage)

    async def _read(
        self,
        shard: int,
        span: tuple[int, int],
        cursor: str | None,
        wanted: Wanted | None,
    ) -> SegmentPage:
        asked = (shard, span, cursor, wanted)
        if self._last is None or self._last[0] != asked:
            if self._fetcher is not None:
                await self._fetcher.refresh()
            self._last = (asked, await self._page(shard, span, cursor, wanted))
        return self._last[1]

    async def _page(
        self,
        shard: int,
        span: tuple[int, int],
        cursor: str | None,
        wanted: Wanted | None,
    ) -> SegmentPage:
        passed = 0
        for _ in range(_MOST_PASSED):
            found = await asyncio.to_thread(find, self._directory, *span, shard, cursor)
            if found is None:
                return SegmentPage((), None, skipped=passed)
            chosen = found.frames if wanted is None else await wanted.frames(*found)
            frames = found.segment.frames
            until = chosen[0] if chosen else len(frames)
            passed += sum(frames[at].entries for at in found.frames if at < until)
            if chosen:
                page = await self._page_of(span, FoundFrames(found.segment, chosen))
                return page._replace(skipped=page.skipped + passed)
            cursor = found.after
        return SegmentPage((), cursor, skipped=passed)

    async def _page_of(self, span: tuple[int, int], found: FoundFrames) -> SegmentPage:
        """The entries of the first of these frames."""
        while True:
            try:
                return await asyncio.to_thread(
                    read_found, self._directory, *span, found.segment, found.frames[0]
                )
            except SegmentMissing as missing:
                await self._fetch(missing)

    async def _fetch(self, missing: SegmentMissing) -> None:
        if self._fetcher is None:
            raise TransientError(f"{missing}: set REFTIDE_ARCHIVE_STORE") from missing
        try:
            await self._fetcher.fetch(missing.key)
        except SegmentDamaged:
            # It is lost: the reader skips it, counts it and logs a warning.
            await asyncio.to_thread(delete_record, self._directory, missing.key)
