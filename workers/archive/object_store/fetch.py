"""Brings back segments that only the object store has.

First the indexes, all of them once in a process: where the archive's disk was lost they say
what there is. Then the file of a segment, when somebody wants to read it; of those that came
so, only some stay.
"""

import asyncio
import os
from contextlib import suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import mkstemp
from typing import Final

from ingest.contracts.telemetry import Log
from workers.archive.lock import ArchiveLocked, try_lock
from workers.archive.object_store.inventory import (
    evict_fetched,
    index_mtime_ns,
    note_fetched,
    note_permanent,
    note_stored,
)
from workers.archive.object_store.store import ObjectStore
from workers.archive.reader import keys, load_segment
from workers.archive.rewrite import STATE_FILE, segment_lock
from workers.archive.segment import INDEX_SUFFIX, OPEN, Segment, SegmentDamaged
from workers.archive.writer import fsync_directory

#: So many bytes of segments stay that were fetched to be read.
_CACHE_BYTES: Final = 1024 * 1024 * 1024
_LOG: Final = Log()


class SegmentFetcher:
    """One archive's directory, and the store that has more of it."""

    def __init__(
        self, directory: Path, store: ObjectStore, room: int = _CACHE_BYTES
    ) -> None:
        """Nothing is asked yet; `room` is bytes."""
        self._directory = directory
        self.store = store
        self._room = room
        self._is_refreshed = False
        self._lock = asyncio.Lock()

    async def refresh(self) -> int:
        """Have the indexes that only the store has; how many those were, once.

        Raises Trouble, OSError.
        """
        async with self._lock:
            if self._is_refreshed:
                return 0
            await asyncio.to_thread(self._make_directories)
            # Who sweeps for the sake of erased persons is to see either all of them or none.
            with try_lock(self._directory) as is_alone:
                if not is_alone:
                    raise ArchiveLocked("the archive is being rewritten: wait")
                count = await self._refresh()
            self._is_refreshed = True
        return count

    async def fetch(self, key: str, *, is_permanent: bool = False) -> Segment:
        """Have a segment here as the store has it.

        `is_permanent`: it does not make room for others. Raises Trouble, OSError, and SegmentDamaged where
        the store has none, or another than its own index says.
        """
        name = f"{key}{INDEX_SUFFIX}"
        index = await self.store.get(name)
        if index is None:
            raise SegmentDamaged(f"{self.store.name} has no {name}")
        segment = Segment.decode(key, index)
        data = await self.store.get(segment.data(Path()).as_posix())
        if data is None or sha256(data).hexdigest() != segment.sha256:
            raise SegmentDamaged(f"{self.store.name} has no {key} as its index says")
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
                await self._download_index(key)
                count += 1
        return count

    async def _download_index(self, key: str) -> None:
        index = await self.store.get(f"{key}{INDEX_SUFFIX}")
        if index is None:
            return
        Segment.decode(key, index)
        await asyncio.to_thread(self._store_index, key, index)

    def _store_index(self, key: str, index: bytes) -> None:
        with segment_lock(self._directory):
            # Since they were listed, it may have been written and uploaded from here.
            if not (self._directory / f"{key}{INDEX_SUFFIX}").exists():
                self._write_index(key, index)
                self._note_stored(key)

    def _store_segment(
        self, segment: Segment, index: bytes, data: bytes, *, is_permanent: bool
    ) -> None:
        self._make_directories()
        with segment_lock(self._directory):
            self._replace(segment, index, data)
        if is_permanent:
            note_permanent(self._directory, segment.key)
        else:
            note_fetched(self._directory, segment)
            evict_fetched(self._directory, self._room)

    def _replace(self, segment: Segment, index: bytes, data: bytes) -> None:
        former = self._load_local(segment.key)
        is_newer = former is not None and former.rewritten >= segment.rewritten
        if former is not None and is_newer and former.data(self._directory).exists():
            return  # somebody was faster, perhaps an erasure
        self._write_durably(segment.data(self._directory), data)
        if former != segment:
            self._write_index(segment.key, index)
        if former is not None and former.rewritten != segment.rewritten:
            former.data(self._directory).unlink(missing_ok=True)
        self._note_stored(segment.key)

    def _load_local(self, key: str) -> Segment | None:
        with suppress(SegmentDamaged, FileNotFoundError):
            return load_segment(self._directory, key)
        return None

    def _write_index(self, key: str, index: bytes) -> None:
        # What erasures were here has not seen it.
        (self._directory / STATE_FILE).unlink(missing_ok=True)
        self._write_durably(self._directory / f"{key}{INDEX_SUFFIX}", index)

    def _note_stored(self, key: str) -> None:
        note_stored(
            self._directory, key, self.store.name, index_mtime_ns(self._directory, key)
        )

    def _write_durably(self, path: Path, data: bytes) -> None:
        day = path.parent
        if not day.exists():
            day.mkdir(mode=0o700, exist_ok=True)
            fsync_directory(self._directory)
        descriptor, draft = mkstemp(dir=self._directory / OPEN, suffix=".fetching")
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(draft).replace(path)
        fsync_directory(day)

    def _make_directories(self) -> None:
        (self._directory / OPEN).mkdir(mode=0o700, parents=True, exist_ok=True)
