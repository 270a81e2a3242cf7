"""The state of an archive's uploads, published in Redis.

`reftide status`, which reads it, may run on another machine than the archive.
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
from workers.redis_io.connections import redis_errors

#: A report expires if its worker stops reporting.
_EXPIRES_SECONDS: Final = 60


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
