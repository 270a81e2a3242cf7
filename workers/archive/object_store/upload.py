"""Copies finished segments to the object store, each once.

A segment is in the store when its index is: that goes last, and each is read back. What is
noted of it here may be lost, or not have been written in time; then the store is asked, and
what it has already is not uploaded again. Names are those here, so what an erasure rewrote
gets another file beside the old one, then its index in the place of the old, and then the
old file goes.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Final

from ingest.contracts.metrics.worker import UPLOADED, UPLOADS_WAITING
from ingest.contracts.telemetry import Log
from workers.archive.lock import alone
from workers.archive.object_store.fetch import Fetching
from workers.archive.object_store.inventory import Waiting, note, stamp_of
from workers.archive.reader import reloaded
from workers.archive.segment import INDEX_SUFFIX, Segment, SegmentDamaged
from workers.model.batch import ArchiveBoundary

_LOG: Final = Log()


class Uploader:
    """One archive's directory on its way to the store."""

    def __init__(
        self,
        directory: Path,
        fetching: Fetching,
        boundary: Callable[[ArchiveBoundary], None],
    ) -> None:
        """`fetching` is of the same directory, and knows the store."""
        self._directory = directory
        self._fetching = fetching
        self._store = fetching.store
        self._boundary = boundary
        self._waiting = Waiting(directory, self._store.name)
        #: What cannot be uploaded, since it is damaged, as it was then.
        self._damaged: dict[str, int] = {}

    async def step(self) -> int:
        """Upload what waits, how many segments. Raises Trouble, OSError.

        Of several processes that share the directory one does it.
        """
        await self._fetching.refresh()
        lock = self._directory / "uploading"
        await asyncio.to_thread(lock.mkdir, mode=0o700, exist_ok=True)
        with alone(lock) as is_alone:
            if not is_alone:
                UPLOADS_WAITING.set(0)
                return 0
            waiting = await asyncio.to_thread(self._waiting.keys)
            count = 0
            for place, key in enumerate(waiting):
                UPLOADS_WAITING.set(len(waiting) - place)
                count += await self._try(key)
            UPLOADS_WAITING.set(len(self._damaged))
        return count

    async def _try(self, key: str) -> bool:
        stamp = 0
        try:
            stamp = await asyncio.to_thread(stamp_of, self._directory, key)
            if self._damaged.get(key) == stamp:
                return False
            is_new = await self._upload(key, stamp)
        except FileNotFoundError:
            # Deleted for its age, or rewritten just now.
            return False
        except SegmentDamaged as error:
            self._damaged[key] = stamp
            _LOG.warning("archive.damaged", segment=key, cause=str(error))
            return False
        self._damaged.pop(key, None)
        return is_new

    async def _upload(self, key: str, stamp: int) -> bool:
        path = self._directory / f"{key}{INDEX_SUFFIX}"
        index = await asyncio.to_thread(path.read_bytes)
        segment = Segment.decode(key, index)
        theirs = await self._theirs(key)
        if theirs and theirs.rewritten > segment.rewritten:
            # Ours came back from a backup; what an erasure took out stays out.
            await self._fetching.fetch(key, is_kept=True)
            return False
        name = segment.data(Path()).as_posix()
        is_there = theirs == segment and await self._store.size(name) == segment.size
        if not is_there:
            await self._store.put(name, await self._data(segment))
            await self._store.put(f"{key}{INDEX_SUFFIX}", index)
        for times in range(segment.rewritten):
            former = replace(segment, rewritten=times)
            await self._store.delete(former.data(Path()).as_posix())
        self._boundary("uploaded")
        await asyncio.to_thread(note, self._directory, key, self._store.name, stamp)
        if not is_there:
            UPLOADED.inc()
            _LOG.info("archive.uploaded", segment=key, bytes=segment.size)
        return not is_there

    async def _theirs(self, key: str) -> Segment | None:
        index = await self._store.get(f"{key}{INDEX_SUFFIX}")
        try:
            return None if index is None else Segment.decode(key, index)
        except SegmentDamaged:
            return None  # ours takes its place

    async def _data(self, segment: Segment) -> bytes:
        path = segment.data(self._directory)
        try:
            data = await asyncio.to_thread(path.read_bytes)
        except FileNotFoundError as error:
            if await asyncio.to_thread(reloaded, self._directory, segment):
                raise
            raise SegmentDamaged(f"neither here nor in {self._store.name}") from error
        if sha256(data).hexdigest() != segment.sha256:
            raise SegmentDamaged("its SHA-256 is not that of its index")
        return data
