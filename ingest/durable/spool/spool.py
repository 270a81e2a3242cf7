"""The asynchronous interface of an edge's spool: it never blocks, and all waits are bounded.

One thread accesses the files. Events that arrive during a write form the next group, which is
synced once. Stores of edges that are gone are adopted and sent before the edge's own.

A slow disk makes clients wait; only a write that fails, or takes longer than a second by the
thread's own clock, makes the edge refuse. Then a probe has to succeed before anything is
written again.
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

#: A write that takes longer has failed; how often the loop looks.
_WRITE_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.25
#: The pause between two probes of a disk that failed.
_PROBE_SECONDS: Final = 1.0
#: Events of one write, so that a queue that has grown is written at once.
_PER_WRITE: Final = 4000
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
        #: The limit of all stores together.
        self.most_bytes = most_bytes
        self._clock = clock
        self._own: LockedSpool | None = None
        self._adopted: list[LockedSpool] = []
        self._appends: Coalescer[SpoolItem, None]
        self._appends = Coalescer(self._flush, in_flight=1, per_flush=_PER_WRITE)
        self._thread = ThreadPoolExecutor(1, "spool")
        self._is_full = most_bytes == 0
        self._problem: str | None = None
        #: When the thread began to write; None while it does not.
        self._writing_since: float | None = None
        self._probing: asyncio.Task[None] | None = None
        self.bytes = 0
        self._log = Log()

    @property
    def problem(self) -> str | None:
        """Why no event can be spooled now; None if it can."""
        if self._is_full and self.bytes >= self.most_bytes * _RESUME_RATIO:
            return f"spool: {self.bytes} of {self.most_bytes} bytes are taken"
        return self._problem

    @property
    def is_empty(self) -> bool:
        return self.bytes == 0

    async def append(self, event_id: UUID, payload: bytes) -> None:
        """Return when the event is synced to disk; raises SpoolFailed."""
        if problem := self.problem:
            raise SpoolFailed(problem)
        try:
            await self._appends.ask(SpoolItem(event_id, payload))
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
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.wait([self._probing])
        await self._in_thread(self._release_empty)
        self._thread.shutdown(wait=False)

    async def _in_thread(self, work: Callable[[], Value]) -> Value:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._counted, work)

    async def _flush(self, items: Sequence[SpoolItem]) -> Sequence[None]:
        if self._problem:
            raise SpoolFailed(self._problem)
        try:
            await self._in_time(lambda: self._append(items))
        except StoreFull:
            self._is_full = True
            raise SpoolFailed("spool: full") from None
        except (OSError, TimeoutError) as error:
            problem = str(error) or "the disk is too slow"
            self._log.warning("spool.failed", problem=problem)
            self._problem = f"spool: {problem}"
            self._probing = asyncio.create_task(self._probe())
            raise SpoolFailed(self._problem) from error
        self._is_full = False
        return [None] * len(items)

    async def _in_time(self, work: Callable[[], None]) -> None:
        """Write in the thread; TimeoutError if the write itself takes too long."""
        write = asyncio.ensure_future(self._in_thread(lambda: self._timed(work)))
        while not write.done():
            await asyncio.wait([write], timeout=_LOOK_SECONDS)
            since = self._writing_since
            if not write.done() and since and self._clock() - since > _WRITE_SECONDS:
                # Its end is still unknown. Whatever it wrote is sent.
                write.add_done_callback(asyncio.Future.exception)
                raise TimeoutError
        await write

    async def _probe(self) -> None:
        """Take events again once a write succeeds in time."""
        while self._problem:
            await asyncio.sleep(_PROBE_SECONDS)
            with suppress(OSError, TimeoutError):
                await self._in_time(self._home.probe)
                self._problem = None

    # In the thread ---------------------------------------------------------------

    def _timed(self, work: Callable[[], None]) -> None:
        self._writing_since = self._clock()
        try:
            work()
        finally:
            self._writing_since = None

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
        self._own.store.append(items, self.most_bytes - self._taken())

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
