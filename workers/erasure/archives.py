"""Archives under pseudonyms: what is written to one, and what one holds already.

An archive remembers itself up to which version of
the list of suppressions it was rewritten, so that one that was restored from a backup, or
whose disk was away, is rewritten when a worker has it again. Beside it stands up to which
version envelopes could be read, so that a later release looks into what this one had to leave.
"""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from uuid import uuid4

from ingest.contracts.envelope import VERSION
from ingest.contracts.telemetry import Log
from workers.archive.lock import try_lock
from workers.archive.object_store.fetch import SegmentFetcher
from workers.archive.object_store.inventory import is_absent
from workers.archive.reader import keys, load_segment
from workers.archive.review import marked, unmark
from workers.archive.rewrite import (
    STATE_FILE,
    delete_replaced,
    delete_unfinished,
    segment_lock,
)
from workers.archive.segment import Segment, SegmentDamaged
from workers.erasure.payloads import pseudonymize_payloads
from workers.erasure.segments import RewrittenSegment, sweep_segment
from workers.erasure.suppression import Suppressions
from workers.model.batch import Delivery, TransientError
from workers.postgres.database import Pool, transaction
from workers.postgres.sql import statements

_SQL: Final = statements("erasure/erasure")
_LOG: Final = Log()

#: So often the list is asked for anew, in seconds.
_EVERY_SECONDS: Final = 1.0


@dataclass(slots=True)
class ArchivePseudonymizer:
    """The list as those who archive use it, in one process."""

    pool: Pool
    suppressions: Suppressions = field(default_factory=Suppressions)
    _asked_at: float = float("-inf")

    async def pseudonymize(
        self, deliveries: Sequence[Delivery]
    ) -> tuple[Sequence[Delivery], int]:
        """What may be archived in place of these, and by which version of the list.

        Raises TransientError before the list is known.
        """
        version = await self._look()
        some = await pseudonymize_payloads(self.pool, self.suppressions, deliveries)
        return [some.replacement(delivery) for delivery in deliveries], version

    async def review(self, directory: Path, segment: Segment, version: int) -> None:
        """Rewrite a finished segment if the list is another than when it was begun.

        Where that cannot be done now, `keep_pseudonymized` does it: the segment stays marked.
        """
        with suppress(TransientError, OSError):
            if await self.suppressions.refresh(self.pool) != version:
                await sweep_segment(self.pool, self.suppressions, directory, segment)
            await asyncio.to_thread(unmark, directory, segment.key)

    async def _look(self) -> int:
        """Have a list that is no older than a second, as long as Postgres answers."""
        now = asyncio.get_running_loop().time()
        if now - self._asked_at >= _EVERY_SECONDS:
            try:
                await self.suppressions.refresh(self.pool)
            except TransientError:
                # While it is away, nobody can be erased.
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
    """Rewrite an archive that does not know the list, and what is marked to be reviewed.

    `live_workers` are the workers whose unfinished segments are to be left alone. Of several workers
    that share the archive, one does it. Raises TransientError, OSError.
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
    """Rewrite what an archive says of who was erased. Raises TransientError, OSError.

    Of what only an object store has, `fetcher` brings each segment here, from where it is
    uploaded again if it had to be rewritten. Without one that is left to who has it.
    """
    version, state = await _list_state(pool)
    token = await asyncio.to_thread(_begin, directory)
    await asyncio.to_thread(delete_replaced, directory)
    is_clean = await asyncio.to_thread(delete_unfinished, directory, live_workers)
    sweeping = _Sweep(pool, directory, fetcher)
    error = await sweeping.run()
    total = sweeping.total
    if total.lines:
        _LOG.info("archive.erased", segments=total.segments, lines=total.lines)
    if total.newer:
        _LOG.warning("archive.newer", lines=total.newer)
    is_clean = is_clean and not error and not sweeping.left
    if is_clean:
        told = f"{state} {VERSION}"
        is_clean = await asyncio.to_thread(_is_ended, directory, token, told)
    place = (socket.gethostname(), str(await asyncio.to_thread(directory.resolve)))
    # Again and again it would be the same: only a later release can do more.
    known = version if is_clean and not total.newer else 0
    async with transaction(pool) as connection:
        await connection.execute(_SQL["archive_swept"], *place, known, total.lines)
    if error:
        raise error
    return total


@dataclass(slots=True)
class _Sweep:
    """One way through an archive. `left` are segments that are somewhere else."""

    pool: Pool
    directory: Path
    fetcher: SegmentFetcher | None
    suppressions: Suppressions = field(default_factory=Suppressions)
    total: RewrittenSegment = field(default_factory=RewrittenSegment)
    left: list[str] = field(default_factory=list)

    async def run(self) -> TransientError | None:
        """What is here first, whatever becomes of the rest; what went wrong with that."""
        for key in await asyncio.to_thread(lambda: list(keys(self.directory))):
            if not await self._sweep(key):
                self.left.append(key)
        try:
            while self.fetcher and self.left:
                if await self._is_handled(self.fetcher, self.left[-1]):
                    self.left.pop()
        except TransientError as error:
            return error
        return None

    async def _is_handled(self, fetcher: SegmentFetcher, key: str) -> bool:
        try:
            await fetcher.fetch(key)
        except SegmentDamaged:
            # Told of by everybody else who reads.
            return True
        return await self._sweep(key)

    async def _sweep(self, key: str) -> bool:
        """Whether it was here, all the time that it took."""
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
        with suppress(
            SegmentDamaged, FileNotFoundError
        ):  # not there yet, or perhaps never
            segment = await asyncio.to_thread(load_segment, directory, key)
            suppressions = suppressions or Suppressions()
            await suppressions.refresh(pool)
            await sweep_segment(pool, suppressions, directory, segment)
            await asyncio.to_thread(delete_replaced, directory, key)
            await asyncio.to_thread(unmark, directory, key)


async def _list_state(pool: Pool) -> tuple[int, str]:
    """The list's version, and what tells it from all other lists."""
    async with transaction(pool) as connection:
        state: str = await connection.fetchval(_SQL["list_state"])
    return int(state.partition(" ")[0]), state


def _covers(known: str, state: str) -> bool:
    """Whether an archive was rewritten by this list, by this release or a later one."""
    listed, _, envelopes = known.rpartition(" ")
    return listed == state and envelopes.isdecimal() and int(envelopes) >= VERSION


def known_state(directory: Path) -> str:
    """Which list an archive was rewritten by; nothing where it does not say."""
    try:
        return (directory / STATE_FILE).read_text("ascii").strip()
    except (FileNotFoundError, ValueError):
        return ""


def _begin(directory: Path) -> str:
    """Say that a sweep is under way; by that it knows at its end whether more came."""
    token = f"sweeping {uuid4().hex}"
    with segment_lock(directory):
        _write_state(directory, token)
    return token


def _is_ended(directory: Path, token: str, state: str) -> bool:
    """Say by which list an archive was rewritten, unless segments came that were not seen."""
    with segment_lock(directory):
        is_all = known_state(directory) == token
        if is_all:
            _write_state(directory, state)
    return is_all


def _write_state(directory: Path, state: str) -> None:
    # Two that sweep at once may be of one process, or have one number on two machines.
    draft = directory / f"{STATE_FILE}.{uuid4().hex}"
    draft.write_text(f"{state}\n", "ascii")
    draft.replace(directory / STATE_FILE)
