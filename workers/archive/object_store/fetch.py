"""Fetches segments that only the object store has.

Indexes are fetched once a process: if the archive's disk was lost, they tell what the store
has. A segment's file is fetched when it is read; a bounded number of bytes stays.
"""

import asyncio
from contextlib import suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Final
from uuid import uuid4

from ingest.contracts.telemetry import Log
from workers.archive.files import (
    ArchiveLocked,
    fsync_directory,
    make_directory,
    segment_lock,
    try_lock,
    write_synced,
)
from workers.archive.object_store.inventory import (
    evict_fetched,
    index_mtime_ns,
    note_fetched,
    note_permanent,
    note_stored,
)
from workers.archive.object_store.store import ObjectStore
from workers.archive.reader import keys, load_segment
from workers.archive.rewrite import STATE_FILE
from workers.archive.segment import (
    INDEX_SUFFIX,
    OPEN,
    Segment,
    SegmentDamaged,
    index_path,
)

#: Bytes of fetched segments that stay on disk.
_CACHE_BYTES: Final = 1024 * 1024 * 1024
_LOG: Final = Log()


class SegmentFetcher:
    """Brings segments of an object store into one archive's directory."""

    def __init__(
        self, directory: Path, store: ObjectStore, room: int = _CACHE_BYTES
    ) -> None:
        """`room` is the bytes of fetched segments to keep."""
        self._directory = directory
        self.store = store
        self._room = room
        self._is_refreshed = False
        self._lock = asyncio.Lock()

    async def refresh(self) -> int:
        """Fetch the indexes that are missing here, once; how many there were.

        Raises TransientError, OSError.
        """
        async with self._lock:
            if self._is_refreshed:
                return 0
            await asyncio.to_thread(make_directory, self._directory)
            # An erasure's sweep must see either all of these indexes or none.
            with try_lock(self._directory) as is_alone:
                if not is_alone:
                    raise ArchiveLocked("the archive is being rewritten; try again")
                count = await self._refresh()
            self._is_refreshed = True
        return count

    async def fetch(self, key: str, *, is_permanent: bool = False) -> Segment:
        """Fetch a segment's index and file.

        `is_permanent`: never evict it. Raises TransientError, OSError, and SegmentDamaged if
        the store has no such segment, or one that does not match its index.
        """
        name = f"{key}{INDEX_SUFFIX}"
        index = await self.store.get(name)
        if index is None:
            raise SegmentDamaged(f"{self.store.name} has no {name}")
        segment = Segment.decode(key, index)
        data = await self.store.get(segment.data(Path()).as_posix())
        if data is None or sha256(data).hexdigest() != segment.sha256:
            raise SegmentDamaged(f"{self.store.name}: {key} does not match its index")
        await asyncio.to_thread(
            partial(
                self._store_segment, segment, index, data, is_permanent=is_permanent
            )
        )
        _LOG.info("archive.fetched", segment=key, bytes=segment.size)
        return segment

    async def _refresh(self) -> int:
        known = await asyncio.to_thread(lambda: set(keys(self._directory)))
        count = 0
        async for name in self.store.names():
            key = name.removesuffix(INDEX_SUFFIX)
            if key == name or not name[0].isdigit() or key in known:
                continue
            with suppress(SegmentDamaged):
                if index := await self.store.get(name):
                    Segment.decode(key, index)
                    await asyncio.to_thread(self._store_index, key, index)
                count += 1
        return count

    def _store_index(self, key: str, index: bytes) -> None:
        with segment_lock(self._directory):
            # It may have been written and uploaded from here since they were listed.
            if not index_path(self._directory, key).exists():
                self._write_index(key, index)
                self._note_stored(key)

    def _store_segment(
        self, segment: Segment, index: bytes, data: bytes, *, is_permanent: bool
    ) -> None:
        with segment_lock(self._directory):
            self._replace(segment, index, data)
        if is_permanent:
            note_permanent(self._directory, segment.key)
        else:
            note_fetched(self._directory, segment)
            evict_fetched(self._directory, self._room)

    def _replace(self, segment: Segment, index: bytes, data: bytes) -> None:
        former: Segment | None = None
        with suppress(SegmentDamaged, FileNotFoundError):
            former = load_segment(self._directory, segment.key)
        is_newer = former is not None and former.rewritten >= segment.rewritten
        if former is not None and is_newer and former.data(self._directory).exists():
            return  # another process, perhaps an erasure, was faster
        self._write_durably(segment.data(self._directory), data)
        if former != segment:
            self._write_index(segment.key, index)
        if former is not None and former.rewritten != segment.rewritten:
            former.data(self._directory).unlink(missing_ok=True)
        self._note_stored(segment.key)

    def _write_index(self, key: str, index: bytes) -> None:
        # Earlier erasures here have not seen it: the archive has to be swept again.
        (self._directory / STATE_FILE).unlink(missing_ok=True)
        self._write_durably(index_path(self._directory, key), index)

    def _note_stored(self, key: str) -> None:
        note_stored(
            self._directory, key, self.store.name, index_mtime_ns(self._directory, key)
        )

    def _write_durably(self, path: Path, data: bytes) -> None:
        make_directory(path.parent)
        draft = self._directory / OPEN / f"{uuid4().hex}.fetching"
        write_synced(draft, data)
        draft.replace(path)
        fsync_directory(path.parent)
