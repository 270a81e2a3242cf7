"""Pseudonymizes archives: new entries as they are written, and segments already written.

An archive's directory records the version of the suppressions it was rewritten by, so that an
archive that was restored from a backup, or whose disk was away, is rewritten again. It also
records the highest envelope version that could be read, so that a later release reads what
this one could not.
"""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from uuid import uuid4

from ingest.contracts.encoding.envelopes import VERSION
from ingest.contracts.telemetry import Log
from workers.archive.files import segment_lock, try_lock
from workers.archive.object_store.fetch import SegmentFetcher
from workers.archive.object_store.inventory import is_absent
from workers.archive.reader import keys, load_segment
from workers.archive.rewrite import (
    STATE_FILE,
    delete_replaced,
    delete_unfinished,
    marked,
    unmark,
)
from workers.archive.segment import Segment, SegmentDamaged
from workers.erasure.payloads import (
    RewrittenSegment,
    pseudonymize_payloads,
    sweep_segment,
)
from workers.erasure.suppression import Suppressions
from workers.model.batch import Delivery, TransientError
from workers.postgres.database import Pool, fetch
from workers.postgres.sql import statements

_SQL: Final = statements("erasure/erasure")
_LOG: Final = Log()

#: The suppressions are read again after so many seconds.
_EVERY_SECONDS: Final = 1.0


@dataclass(slots=True)
class ArchivePseudonymizer:
    """Pseudonymizes what one process archives."""

    pool: Pool
    suppressions: Suppressions = field(default_factory=Suppressions)
    _asked_at: float = float("-inf")

    async def pseudonymize(
        self, deliveries: Sequence[Delivery]
    ) -> tuple[Sequence[Delivery], int]:
        """The deliveries to archive instead, and the version of the suppressions used.

        Raises TransientError until the suppressions were read once.
        """
        version = await self._look()
        some = await pseudonymize_payloads(self.pool, self.suppressions, deliveries)
        return [some.replacement(delivery) for delivery in deliveries], version

    async def review(self, directory: Path, segment: Segment, version: int) -> None:
        """Rewrite a finished segment if the suppressions changed since `version`.

        If that fails, the segment stays marked, and `keep_pseudonymized` rewrites it later.
        """
        with suppress(TransientError, OSError):
            if await self.suppressions.refresh(self.pool) != version:
                await sweep_segment(self.pool, self.suppressions, directory, segment)
            await asyncio.to_thread(unmark, directory, segment.key)

    async def _look(self) -> int:
        """Read the suppressions at most once a second; the version known."""
        now = asyncio.get_running_loop().time()
        if now - self._asked_at >= _EVERY_SECONDS:
            try:
                await self.suppressions.refresh(self.pool)
            except TransientError:
                # No erasure can begin while PostgreSQL is away.
                if self.suppressions.version is None:
                    raise
            self._asked_at = now
        return await self.suppressions.ready(self.pool)


async def keep_pseudonymized(
    pool: Pool,
    directory: Path,
    live_workers: Sequence[str],
    fetcher: SegmentFetcher | None = None,
) -> None:
    """Review marked segments, and rewrite the archive if the suppressions have changed.

    `live_workers` are the workers whose unfinished segments stay. Of the workers that share
    the archive, one rewrites it. Raises TransientError, OSError.
    """
    if not await asyncio.to_thread(directory.is_dir):
        return
    await _review_marked(pool, directory)
    version, state = await _list_state(pool)
    if not version or _covers(await asyncio.to_thread(known_state, directory), state):
        return
    with try_lock(directory) as is_alone:
        if is_alone:
            await sweep(pool, directory, live_workers, fetcher)


async def sweep(
    pool: Pool,
    directory: Path,
    live_workers: Sequence[str],
    fetcher: SegmentFetcher | None = None,
) -> RewrittenSegment:
    """Pseudonymize all segments of an archive. Raises TransientError, OSError.

    `fetcher` fetches segments that only the object store has; rewritten ones are uploaded
    again. Without a fetcher those segments are left to a process that has one.
    """
    version, state = await _list_state(pool)
    token = f"sweeping {uuid4().hex}"
    await asyncio.to_thread(_record_state, directory, token)
    await asyncio.to_thread(delete_replaced, directory)
    is_clean = await asyncio.to_thread(delete_unfinished, directory, live_workers)
    sweeping = _Sweep(pool, directory)
    error = await sweeping.run(fetcher)
    total = sweeping.total
    if total.lines:
        _LOG.info("archive.erased", segments=total.segments, lines=total.lines)
    if total.newer:
        _LOG.warning("archive.newer", lines=total.newer)
    is_clean = is_clean and not error and not sweeping.left
    if is_clean:
        # Not if segments were added that this sweep has not seen.
        swept = f"{state} {VERSION}"
        is_clean = await asyncio.to_thread(_record_state, directory, swept, token)
    place = (socket.gethostname(), str(await asyncio.to_thread(directory.resolve)))
    # Do not try again what only a later release can read.
    known = version if is_clean and not total.newer else 0
    await fetch(pool, _SQL["archive_swept"], *place, known, total.lines)
    if error:
        raise error
    return total


@dataclass(slots=True)
class _Sweep:
    """One pass through an archive. `left` are segments that only the object store has."""

    pool: Pool
    directory: Path
    suppressions: Suppressions = field(default_factory=Suppressions)
    total: RewrittenSegment = field(default_factory=RewrittenSegment)
    left: list[str] = field(default_factory=list)

    async def run(self, fetcher: SegmentFetcher | None) -> TransientError | None:
        """Sweep local segments, then the others; the error that stopped the latter."""
        for key in await asyncio.to_thread(lambda: list(keys(self.directory))):
            if not await self._sweep(key):
                self.left.append(key)
        try:
            while fetcher and self.left:
                # Every reader of the archive reports a damaged one.
                with suppress(SegmentDamaged):
                    await fetcher.fetch(self.left[-1])
                    if not await self._sweep(self.left[-1]):
                        continue
                self.left.pop()
        except TransientError as error:
            return error
        return None

    async def _sweep(self, key: str) -> bool:
        """False if the segment's file is, or has become, absent."""
        with suppress(SegmentDamaged, FileNotFoundError):
            segment = await asyncio.to_thread(load_segment, self.directory, key)
            swept = await sweep_segment(
                self.pool, self.suppressions, self.directory, segment
            )
            self.total = self.total.plus(swept)
        return not await asyncio.to_thread(is_absent, self.directory, key)


async def _review_marked(pool: Pool, directory: Path) -> None:
    suppressions: Suppressions | None = None
    for key in await asyncio.to_thread(marked, directory):
        # Its segment may not be there yet, or never will.
        with suppress(SegmentDamaged, FileNotFoundError):
            segment = await asyncio.to_thread(load_segment, directory, key)
            suppressions = suppressions or Suppressions()
            await suppressions.refresh(pool)
            await sweep_segment(pool, suppressions, directory, segment)
            await asyncio.to_thread(delete_replaced, directory, key)
            await asyncio.to_thread(unmark, directory, key)


async def _list_state(pool: Pool) -> tuple[int, str]:
    """The version of the suppressions, and their state, which no backup repeats."""
    ((state,),) = await fetch(pool, _SQL["list_state"])
    return int(state.partition(" ")[0]), state


def _covers(known: str, state: str) -> bool:
    """Whether `known` says: rewritten for this state, by this release or a later one."""
    listed, _, envelopes = known.rpartition(" ")
    return listed == state and envelopes.isdecimal() and int(envelopes) >= VERSION


def known_state(directory: Path) -> str:
    """The state of the suppressions an archive was rewritten by; empty if unknown."""
    try:
        return (directory / STATE_FILE).read_text("ascii").strip()
    except (FileNotFoundError, ValueError):
        return ""


def _record_state(directory: Path, state: str, after: str | None = None) -> bool:
    """Record a state; False if the present one is not `after`. New segments delete it."""
    with segment_lock(directory):
        if after not in {None, known_state(directory)}:
            return False
        # A unique name: sweeps of one process, or of two machines, may run at once.
        draft = directory / f"{STATE_FILE}.{uuid4().hex}"
        draft.write_text(f"{state}\n", "ascii")
        draft.replace(directory / STATE_FILE)
    return True
