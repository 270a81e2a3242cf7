"""The asynchronous interface of an edge's spool: it never blocks, and all waits are bounded.

One thread accesses the files. Events that arrive during a write form the next group, which is
synced once. Stores of edges that are gone are adopted and sent before the edge's own.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, NamedTuple, TypeVar
from uuid import UUID

from ingest.contracts.telemetry import Log
from ingest.durable.spool.directory import LockedSpool, SpoolDirectory
from ingest.durable.spool.records import SpoolItem
from ingest.durable.spool.store import KeptRecord
from ingest.durable.spool.store import SpoolFull as StoreFull
from ingest.redis_io.client import Coalescer, QueueFull

#: A write that takes longer has failed.
_WRITE_SECONDS: Final = 1.0
#: The pause after a disk error.
_REST_SECONDS: Final = 1.0
#: A full spool takes events again when it has shrunk to this part of its limit.
_RESUME_RATIO: Final = 0.9

Value = TypeVar("Value")


class SpoolFailed(Exception):
    """The event is not on disk, or not known to be: it must not be acknowledged."""


class SpoolBatch(NamedTuple):
    """The oldest events of one store."""

    held: LockedSpool
    kept: Sequence[KeptRecord]


class Spool:
    """The edge's own store, and the stores it adopted."""

    def __init__(
        self, home: SpoolDirectory, *, most_bytes: int, clock: Callable[[], float]
    ) -> None:
        """`most_bytes` limits all stores together; `clock` gives monotonic seconds."""
        self._home = home
        self._most_bytes = most_bytes
        self._clock = clock
        self._own: LockedSpool | None = None
        self._adopted: list[LockedSpool] = []
        self._appends: Coalescer[SpoolItem, None]
        self._appends = Coalescer(self._flush, in_flight=1)
        self._thread = ThreadPoolExecutor(1, "spool")
        self._is_full = most_bytes == 0
        self._problem: str | None = None
        self._rests_until = 0.0
        self.bytes = 0
        self._log = Log()

    @property
    def problem(self) -> str | None:
        """Why no event can be spooled now; None if it can."""
        if self._is_full and self.bytes >= self._most_bytes * _RESUME_RATIO:
            return f"spool: {self.bytes} of {self._most_bytes} bytes are taken"
        return self._problem if self._clock() < self._rests_until else None

    @property
    def is_empty(self) -> bool:
        return self.bytes == 0

    async def append(self, event_id: UUID, payload: bytes) -> None:
        """Return when the event is synced to disk; raises SpoolFailed."""
        if problem := self.problem:
            raise SpoolFailed(problem)
        # A timeout needs a task, and a plain request has none.
        await asyncio.create_task(self._append_in_time(SpoolItem(event_id, payload)))

    async def _append_in_time(self, item: SpoolItem) -> None:
        try:
            async with asyncio.timeout(_WRITE_SECONDS):
                await self._appends.ask(item)
        except TimeoutError:
            self._pause_writes("the disk is too slow")
            raise SpoolFailed("spool: the disk is too slow") from None
        except QueueFull:
            raise SpoolFailed("spool: too many events wait for the disk") from None

    async def adopt(self) -> None:
        """Adopt the stores of edges that are gone."""
        with suppress(OSError):  # tried again soon
            await self._in_thread(self._adopt)

    async def take(self, most: int) -> SpoolBatch | None:
        """The oldest events, which stay until they are removed; None if there are none.

        Raises OSError.
        """
        return await self._in_thread(lambda: self._take(most))

    async def remove(self, batch: SpoolBatch, kept: Collection[KeptRecord]) -> None:
        """Delete events of a batch; raises OSError."""
        await self._in_thread(lambda: self._remove(batch.held, kept))

    def start(self) -> None:
        self._appends.start()

    async def stop(self) -> None:
        """Return when every append has its answer."""
        await self._appends.stop()
        await self._in_thread(self._release_empty)
        self._thread.shutdown(wait=False)

    async def _in_thread(self, work: Callable[[], Value]) -> Value:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._counted, work)

    async def _flush(self, items: Sequence[SpoolItem]) -> Sequence[None]:
        try:
            await self._in_thread(lambda: self._append(items))
        except StoreFull:
            self._is_full = True
            raise SpoolFailed("spool: full") from None
        except OSError as error:
            self._pause_writes(str(error))
            raise SpoolFailed(str(error)) from error
        self._is_full = False
        self._problem = None
        return [None] * len(items)

    def _pause_writes(self, problem: str) -> None:
        if self._problem is None:
            self._log.warning("spool.failed", problem=problem)
        self._problem = f"spool: {problem}"
        self._rests_until = self._clock() + _REST_SECONDS

    # In the thread ---------------------------------------------------------------

    def _counted(self, work: Callable[[], Value]) -> Value:
        try:
            return work()
        finally:
            self.bytes = self._taken()

    def _taken(self) -> int:
        return sum(held.store.bytes for held in self._held())

    def _held(self) -> list[LockedSpool]:
        return [*self._adopted, *([self._own] if self._own else [])]

    def _append(self, items: Sequence[SpoolItem]) -> None:
        if self._own is None:
            self._own = self._home.open_own()
        self._own.store.append(items, self._most_bytes - self._taken())

    def _adopt(self) -> None:
        for held in self._home.adopt():
            if held.store.is_empty:
                held.leave()
                continue
            self._adopted.append(held)
            self._log.info(
                "spool.adopted",
                store=held.store.folder.name,
                bytes=held.store.bytes,
            )

    def _take(self, most: int) -> SpoolBatch | None:
        for held in self._held():
            if kept := held.store.take(most):
                return SpoolBatch(held, kept)
        self._leave_empty()
        return None

    def _remove(self, held: LockedSpool, kept: Collection[KeptRecord]) -> None:
        held.store.remove({one.place for one in kept})
        self._leave_empty()

    def _leave_empty(self) -> None:
        empty = [held for held in self._adopted if held.store.is_empty]
        self._adopted = [held for held in self._adopted if held not in empty]
        for held in empty:
            held.leave()

    def _release_empty(self) -> None:
        """Release the stores; another edge, or the restarted one, adopts them."""
        for held in self._held():
            with suppress(OSError):
                held.leave()
        self._own, self._adopted = None, []
