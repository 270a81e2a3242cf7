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
from workers.archive.lock import ArchiveLocked, alone
from workers.archive.object_store.inventory import (
    forget_fetched,
    keep_fetched,
    note,
    note_fetched,
    stamp_of,
)
from workers.archive.object_store.store import ObjectStore
from workers.archive.reader import keys, loaded
from workers.archive.rewrite import STATE_FILE, undisturbed
from workers.archive.segment import INDEX_SUFFIX, OPEN, Segment, SegmentDamaged
from workers.archive.writer import sync_directory

#: So many bytes of segments stay that were fetched to be read.
_ROOM: Final = 1024 * 1024 * 1024
_LOG: Final = Log()


class Fetching:
    """One archive's directory, and the store that has more of it."""

    def __init__(self, directory: Path, store: ObjectStore, room: int = _ROOM) -> None:
        """Nothing is asked yet; `room` is bytes."""
        self._directory = directory
        self.store = store
        self._room = room
        self._is_known = False
        self._lock = asyncio.Lock()

    async def refresh(self) -> int:
        """Have the indexes that only the store has; how many those were, once.

        Raises Trouble, OSError.
        """
        async with self._lock:
            if self._is_known:
                return 0
            await asyncio.to_thread(self._prepare)
            # Who sweeps for the sake of erased persons is to see either all of them or none.
            with alone(self._directory) as is_alone:
                if not is_alone:
                    raise ArchiveLocked("the archive is being rewritten: wait")
                count = await self._refresh()
            self._is_known = True
        return count

    async def fetch(self, key: str, *, is_kept: bool = False) -> Segment:
        """Have a segment here as the store has it.

        `is_kept`: it does not make room for others. Raises Trouble, OSError, and SegmentDamaged where
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
            partial(self._take, segment, index, data, is_kept=is_kept)
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
                await self._take_index(key)
                count += 1
        return count

    async def _take_index(self, key: str) -> None:
        index = await self.store.get(f"{key}{INDEX_SUFFIX}")
        if index is None:
            return
        Segment.decode(key, index)
        await asyncio.to_thread(self._take_bytes, key, index)

    def _take_bytes(self, key: str, index: bytes) -> None:
        with undisturbed(self._directory):
            # Since they were listed, it may have been written and uploaded from here.
            if not (self._directory / f"{key}{INDEX_SUFFIX}").exists():
                self._put_index(key, index)
                self._note(key)

    def _take(
        self, segment: Segment, index: bytes, data: bytes, *, is_kept: bool
    ) -> None:
        self._prepare()
        with undisturbed(self._directory):
            self._replace(segment, index, data)
        if is_kept:
            keep_fetched(self._directory, segment.key)
        else:
            note_fetched(self._directory, segment)
            forget_fetched(self._directory, self._room)

    def _replace(self, segment: Segment, index: bytes, data: bytes) -> None:
        former = self._former(segment.key)
        is_newer = former is not None and former.rewritten >= segment.rewritten
        if former is not None and is_newer and former.data(self._directory).exists():
            return  # somebody was faster, perhaps an erasure
        self._put(segment.data(self._directory), data)
        if former != segment:
            self._put_index(segment.key, index)
        if former is not None and former.rewritten != segment.rewritten:
            former.data(self._directory).unlink(missing_ok=True)
        self._note(segment.key)

    def _former(self, key: str) -> Segment | None:
        with suppress(SegmentDamaged, FileNotFoundError):
            return loaded(self._directory, key)
        return None

    def _put_index(self, key: str, index: bytes) -> None:
        # What erasures were here has not seen it.
        (self._directory / STATE_FILE).unlink(missing_ok=True)
        self._put(self._directory / f"{key}{INDEX_SUFFIX}", index)

    def _note(self, key: str) -> None:
        note(self._directory, key, self.store.name, stamp_of(self._directory, key))

    def _put(self, path: Path, data: bytes) -> None:
        day = path.parent
        if not day.exists():
            day.mkdir(mode=0o700, exist_ok=True)
            sync_directory(self._directory)
        descriptor, draft = mkstemp(dir=self._directory / OPEN, suffix=".fetching")
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(draft).replace(path)
        sync_directory(day)

    def _prepare(self) -> None:
        (self._directory / OPEN).mkdir(mode=0o700, parents=True, exist_ok=True)
