"""A cache of the directory in Redis, of the records that this edge asked for.

A hit costs no I/O. Misses of one turn of the event loop are sent together. Changed records are
dropped as soon as the stream of changes names them; while Redis is away, cached records are
served.
"""

import asyncio
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, TypeVar, cast

from redis.asyncio import Redis

from ingest.contracts.directory import CUSTOMER_PREFIX, EVERYTHING, GENERATION_KEY
from ingest.contracts.telemetry import Log
from ingest.core.values import Missing
from ingest.directory.cache import Lru, Published, read_snapshot, write_snapshot
from ingest.directory.invalidation import InvalidationListener
from ingest.redis_io.client import REDIS_ERRORS, QueueFull
from ingest.redis_io.multiplexer import Multiplexer, packed

_PRESENT_KEPT: Final = 50_000
_ABSENT_KEPT: Final = 20_000
_SNAPSHOT_SECONDS: Final = 30.0
_PENDING: Final = 10_000

Record = TypeVar("Record")


class RecordRequest(NamedTuple, Generic[Record]):
    """A key, and the decoder of its value."""

    key: str
    decode: Callable[[bytes], Record]


class _Fetched(NamedTuple):
    """A key's bytes and record; both None if the key is absent."""

    raw: Published
    value: Any


class Replica:
    """Records by key, or why there is none."""

    def __init__(self, redis: Redis, changes: Redis, snapshot: Path) -> None:
        """`changes` waits a second for an answer; `snapshot` is the snapshot file."""
        self._snapshot = snapshot
        self._present: Lru[_Fetched] = Lru(_PRESENT_KEPT)
        self._absent: Lru[_Fetched] = Lru(_ABSENT_KEPT)
        self._saved: Mapping[str, Published] = {}
        #: Answers derived from the cache, by question; cleared as a whole when any record
        #: is invalidated.
        self._answers: dict[Hashable, Any] = {}
        #: The cached answer to a question; None if there is none.
        self.recall = self._answers.get
        self._listener = InvalidationListener(
            changes, invalidate=self._invalidate, reached=self._reached
        )
        self._reads = Multiplexer(redis, pending=_PENDING)
        #: What is being read, by its keys; others who ask for it meanwhile wait for it too.
        self._reading: dict[tuple[str, ...], asyncio.Future[Any]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._invalidations = 0
        self._unsaved = False
        self._is_reached = True
        self._log = Log()

    async def first(
        self, question: Hashable, *wanted: RecordRequest[Record]
    ) -> Record | Missing:
        """The first record that exists; it is cached as the question's answer."""
        found: Record | Missing = _decide(wanted, self._cached)
        if found is not Missing.UNAVAILABLE:
            self._answers[question] = found
            return found
        with suppress(QueueFull):
            found = await self._fetch(wanted)
        return found

    @property
    def is_reached(self) -> bool:
        """Whether Redis answered when it was last asked."""
        return self._is_reached

    def start(self) -> None:
        self._saved = read_snapshot(self._snapshot)
        self._tasks = [
            asyncio.create_task(work)
            for work in (self._listener.run(), self._save_periodically())
        ]
        for task in self._tasks:
            task.add_done_callback(self._ended)

    async def stop(self) -> None:
        self._listener.stop_soon()
        follower, saver = self._tasks
        saver.cancel()
        await asyncio.wait((follower, saver))
        await self._reads.stop()
        await self._save()

    def _cached(self, key: str) -> _Fetched | None:
        return self._present.get(key) or self._absent.get(key)

    async def _fetch(self, wanted: tuple[RecordRequest[Record], ...]) -> Any:
        """The first record that exists, as Redis has it; raises QueueFull."""
        asked = {item.key: item.decode for item in wanted}
        invalidations = self._invalidations
        try:
            *raws, generation = await self._read(tuple(asked))
        except REDIS_ERRORS:
            self._reached(False)  # noqa: FBT003 -- reads as a sentence
            return _decide(wanted, self._cached_or_saved(wanted))
        self._reached(True)  # noqa: FBT003 -- likewise
        known = _known(asked, raws, is_whole=generation is not None)
        # A change that came meanwhile may concern what was just read.
        if self._listener.is_current and invalidations == self._invalidations:
            self._keep(known)
        return _decide(wanted, known.get)

    async def _read(self, keys: tuple[str, ...]) -> list[Any]:
        reading = self._reading.get(keys)
        if reading is not None:
            return _values(await asyncio.shield(reading))
        # One command: the generation marker must be of the moment of the reads.
        reading = self._reads.ask(packed(("MGET", *keys, GENERATION_KEY)))
        self._reading[keys] = reading
        try:
            return _values(await asyncio.shield(reading))
        finally:
            if self._reading.get(keys) is reading:
                del self._reading[keys]

    def _cached_or_saved(
        self, wanted: tuple[RecordRequest[Any], ...]
    ) -> Callable[[str], _Fetched | None]:
        """Cached values, or those of an earlier run's snapshot."""
        keys = {item.key: item.decode for item in wanted if item.key in self._saved}
        earlier = _known(keys, [self._saved[key] for key in keys], is_whole=True)
        return lambda key: self._cached(key) or earlier.get(key)

    def _keep(self, known: Mapping[str, _Fetched]) -> None:
        for key, item in known.items():
            cache, other = self._present, self._absent
            if item.value is None:
                cache, other = other, cache
            # Two concurrent fetches may have read it before and after its publication.
            is_other = other.drop(key)
            # Changes of an evicted entry would not clear answers derived from it.
            if cache.put(key, item) or is_other:
                self._answers.clear()
        self._unsaved = True

    def _invalidate(self, key: str) -> None:
        self._invalidations += 1
        # Who asks from now on must not get what was read before.
        self._reading.clear()
        if key != EVERYTHING:
            was_present, was_absent = self._present.drop(key), self._absent.drop(key)
            if was_present or was_absent:
                self._answers.clear()
                self._unsaved = True
            return
        self._answers.clear()
        self._unsaved |= len(self._present) + len(self._absent) > 0
        self._present.clear()
        self._absent.clear()
        # Redis answers again, and what has changed since the snapshot is unknown.
        self._saved = {}

    def _reached(self, is_reached: bool) -> None:  # noqa: FBT001 -- a callback
        if is_reached == self._is_reached:
            return
        self._is_reached = is_reached
        if is_reached:
            self._log.info("directory.recovered")
        else:
            self._log.warning("directory.unavailable")

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            self._log.error("edge.failed", exc_info=error)

    async def _save_periodically(self) -> None:
        while True:
            await asyncio.sleep(_SNAPSHOT_SECONDS)
            await self._refresh()
            await self._save()

    async def _refresh(self) -> None:
        """Ask for what must be known before a request needs it."""

    async def _save(self) -> None:
        if not self._unsaved or not self._listener.is_current:
            return
        self._unsaved = False
        known = self._absent.items() + self._present.items()
        # Customers are persons: their records stay in Redis, which forgets them.
        entries = [
            (key, item.raw)
            for key, item in known
            if not key.startswith(CUSTOMER_PREFIX)
        ]
        try:
            await asyncio.to_thread(write_snapshot, self._snapshot, entries)
        except OSError as error:
            # The snapshot is only needed by an edge that starts without Redis.
            self._unsaved = True
            self._log.warning("directory.unsaved", problem=str(error))


def _values(reply: object) -> list[Any]:
    """The values in a reply; raises what Redis answered instead."""
    if isinstance(reply, Exception):
        raise reply
    return list(cast("list[Any]", reply))


def _known(
    wanted: Mapping[str, Callable[[bytes], Any]],
    raws: Sequence[Published],
    *,
    is_whole: bool,
) -> dict[str, _Fetched]:
    """Decode replies; a key that is absent from an incomplete directory is unknown."""
    known = {}
    for (key, decode), raw in zip(wanted.items(), raws, strict=True):
        if raw is not None:
            try:
                known[key] = _Fetched(raw, decode(raw))
            except (ValueError, TypeError, AttributeError):
                # A record of another release: the worker will resolve the event.
                continue
        elif is_whole:
            known[key] = _Fetched(None, None)
    return known


def _decide(
    wanted: Sequence[RecordRequest[Any]], known: Callable[[str], _Fetched | None]
) -> Any:
    """The first existing value decides; an unknown key before it leaves it undecided."""
    for item in wanted:
        found = known(item.key)
        if found is None:
            return Missing.UNAVAILABLE
        if found.value is not None:
            return found.value
    return Missing.UNKNOWN
