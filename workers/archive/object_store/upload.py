"""Uploads finished segments to the object store, each once.

The index is uploaded last, so a segment is in the store when its index is; both are read
back. If a local record is lost, the store is asked, and what it has is not uploaded again.
A rewritten segment has a new file name: the new file is uploaded, then the index is
replaced, then the old file is deleted.
"""

import asyncio
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import orjson
from redis.asyncio import Redis

from ingest.contracts.metrics.worker import UPLOADED, UPLOADS_WAITING
from ingest.contracts.stream import uploads_key
from ingest.contracts.telemetry import Log
from workers.archive.files import try_lock
from workers.archive.object_store.fetch import SegmentFetcher
from workers.archive.object_store.inventory import (
    PendingUploads,
    index_mtime_ns,
    note_stored,
)
from workers.archive.reader import load_segment, note_damage, reload_if_changed
from workers.archive.segment import INDEX_SUFFIX, Segment, SegmentDamaged, index_path
from workers.model.batch import ArchiveBoundary
from workers.redis_io.connections import redis_errors

_LOG: Final = Log()

#: A report expires if its worker stops reporting.
_EXPIRES_SECONDS: Final = 60


class Uploader:
    """Uploads the segments of one archive's directory."""

    def __init__(
        self,
        directory: Path,
        fetcher: SegmentFetcher,
        boundary: Callable[[ArchiveBoundary], None],
    ) -> None:
        """`fetcher` is of the same directory and has the store."""
        self._directory = directory
        self._fetcher = fetcher
        self._store = fetcher.store
        self._boundary = boundary
        self._waiting = PendingUploads(directory, self._store.name)
        #: Damaged segments, which are not uploaded, with their index's mtime.
        self._damaged: dict[str, int] = {}

    async def step(self) -> int:
        """Upload what is pending; how many segments. Raises TransientError, OSError.

        One of the processes that share the directory does it.
        """
        await self._fetcher.refresh()
        lock = self._directory / "uploading"
        await asyncio.to_thread(lock.mkdir, mode=0o700, exist_ok=True)
        with try_lock(lock) as is_alone:
            if not is_alone:
                UPLOADS_WAITING.set(0)
                return 0
            waiting = await asyncio.to_thread(self._waiting.keys)
            count = 0
            for place, key in enumerate(waiting):
                UPLOADS_WAITING.set(len(waiting) - place)
                count += await self._upload_if_changed(key)
            UPLOADS_WAITING.set(len(self._damaged))
        return count

    async def _upload_if_changed(self, key: str) -> bool:
        mtime_ns = 0
        try:
            mtime_ns = await asyncio.to_thread(index_mtime_ns, self._directory, key)
            if self._damaged.get(key) == mtime_ns:
                return False
            is_new = await self._upload(key, mtime_ns)
        except FileNotFoundError:
            # Deleted by retention, or rewritten just now.
            return False
        except SegmentDamaged as error:
            self._damaged[key] = mtime_ns
            note_damage(segment=key, cause=str(error))
            return False
        self._damaged.pop(key, None)
        return is_new

    async def _upload(self, key: str, mtime_ns: int) -> bool:
        index = await asyncio.to_thread(index_path(self._directory, key).read_bytes)
        segment = Segment.decode(key, index)
        stored = await self._stored(key)
        if stored and stored.rewritten > segment.rewritten:
            # The local segment was restored from a backup: keep what an erasure rewrote.
            await self._fetcher.fetch(key, is_permanent=True)
            return False
        name = segment.data(Path()).as_posix()
        is_there = stored == segment and await self._store.size(name) == segment.size
        if not is_there:
            await self._store.put(name, await self._data(segment))
            await self._store.put(f"{key}{INDEX_SUFFIX}", index)
        for times in range(segment.rewritten):
            former = replace(segment, rewritten=times)
            await self._store.delete(former.data(Path()).as_posix())
        self._boundary("uploaded")
        await asyncio.to_thread(
            note_stored, self._directory, key, self._store.name, mtime_ns
        )
        if not is_there:
            UPLOADED.inc()
            _LOG.info("archive.uploaded", segment=key, bytes=segment.size)
        return not is_there

    async def _stored(self, key: str) -> Segment | None:
        index = await self._store.get(f"{key}{INDEX_SUFFIX}")
        try:
            return None if index is None else Segment.decode(key, index)
        except SegmentDamaged:
            return None  # it is overwritten

    async def _data(self, segment: Segment) -> bytes:
        path = segment.data(self._directory)
        try:
            data = await asyncio.to_thread(path.read_bytes)
        except FileNotFoundError as error:
            if await asyncio.to_thread(reload_if_changed, self._directory, segment):
                raise
            raise SegmentDamaged(f"neither here nor in {self._store.name}") from error
        if sha256(data).hexdigest() != segment.sha256:
            raise SegmentDamaged("the file's SHA-256 is not that of its index")
        return data


class UploadReporter:
    """Publishes the state of one worker's uploads."""

    def __init__(self, redis: Redis, owner: str, directory: Path, store: str) -> None:
        """`owner` is the worker's name, `store` the store's URL without its query."""
        self._redis = redis
        self._key = uploads_key(owner)
        self._directory = directory
        self._store = store
        self._waiting = PendingUploads(directory, store)
        self._failing_ms: int | None = None
        self._why: str | None = None

    def failed(self, at_ms: int, why: str) -> None:
        """Note a failed attempt; `at_ms` is Unix milliseconds."""
        self._failing_ms = self._failing_ms or at_ms
        self._why = why

    def succeeded(self) -> None:
        """Note a successful attempt."""
        self._failing_ms = self._why = None

    async def publish(self, now_ms: int) -> None:
        """Write the report; `now_ms` is Unix milliseconds. Raises TransientError, OSError."""
        waiting, since_ms = await asyncio.to_thread(self._look)
        document = {
            "archive": f"{socket.gethostname()}:{self._directory}",
            "store": self._store,
            "waiting": waiting,
            "oldest_seconds": since_ms and max(0, now_ms - since_ms) // 1000,
            "failing_seconds": self._failing_ms
            and max(0, now_ms - self._failing_ms) // 1000,
            "why": self._why,
        }
        raw = orjson.dumps({"at_ms": now_ms, **document})
        with redis_errors():
            await self._redis.set(self._key, raw, ex=_EXPIRES_SECONDS)

    def _look(self) -> tuple[int, int | None]:
        """The number of segments to upload, and the last arrival (ms) of the first."""
        keys = self._waiting.keys()
        for key in keys:
            with suppress(SegmentDamaged, FileNotFoundError):
                return len(keys), load_segment(self._directory, key).last.ms
        return len(keys), None


async def upload_reports(redis: Redis, workers: Iterable[str]) -> list[dict[str, Any]]:
    """The latest report of each archive by these workers; raises what Redis raises."""
    told = [await redis.get(uploads_key(name)) for name in workers]
    found = [orjson.loads(raw) for raw in told if raw is not None]
    found.sort(key=lambda each: each.pop("at_ms"))
    latest = {each["archive"]: each for each in found}
    return [latest[name] for name in sorted(latest)]
