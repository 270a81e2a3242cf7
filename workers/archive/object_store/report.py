"""How an archive's uploads stand, as its worker tells in Redis.

Whoever asks (`reftide status`) may be on another machine than the archive.
"""

import asyncio
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import orjson
from redis.asyncio import Redis

from ingest.contracts.stream import uploads_key
from workers.archive.object_store.inventory import PendingUploads
from workers.archive.reader import load_segment
from workers.archive.segment import SegmentDamaged
from workers.model.batch import TransientError
from workers.redis_io.connections import REDIS_TROUBLE

#: For how long it holds what a worker said that says nothing more.
_EXPIRES_SECONDS: Final = 60


class UploadReporter:
    """What one worker knows of the uploads of its archive."""

    def __init__(self, redis: Redis, owner: str, directory: Path, store: str) -> None:
        """`owner` is the worker's name, `store` the object store's without settings."""
        self._redis = redis
        self._key = uploads_key(owner)
        self._directory = directory
        self._store = store
        self._waiting = PendingUploads(directory, store)
        self._failing_ms: int | None = None
        self._why: str | None = None

    def failed(self, at_ms: int, why: str) -> None:
        """The last attempt did; `at_ms` is Unix milliseconds."""
        self._failing_ms = self._failing_ms or at_ms
        self._why = why

    def succeeded(self) -> None:
        """The last attempt did."""
        self._failing_ms = self._why = None

    async def publish(self, now_ms: int) -> None:
        """Say how it stands; `now_ms` is Unix milliseconds. Raises TransientError, OSError."""
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
        try:
            await self._redis.set(self._key, raw, ex=_EXPIRES_SECONDS)
        except REDIS_TROUBLE as error:
            raise TransientError(f"{type(error).__name__}: {error}") from error

    def _look(self) -> tuple[int, int | None]:
        """How many segments wait, and when the last entry of the first of them arrived."""
        keys = self._waiting.keys()
        for key in keys:
            with suppress(SegmentDamaged, FileNotFoundError):
                return len(keys), load_segment(self._directory, key).last.ms
        return len(keys), None


async def upload_reports(redis: Redis, workers: Iterable[str]) -> list[dict[str, Any]]:
    """What these workers said last, once of each archive; raises what Redis raises."""
    told = [await redis.get(uploads_key(name)) for name in workers]
    found = [orjson.loads(raw) for raw in told if raw is not None]
    found.sort(key=lambda each: each.pop("at_ms"))
    latest = {each["archive"]: each for each in found}
    return [latest[name] for name in sorted(latest)]
