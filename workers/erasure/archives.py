"""Archives under pseudonyms: what is written to one, and what one holds already.

Used by `archiving` and by `reftide erase`. An archive remembers itself up to which version of
the list of suppressions it was rewritten, so that one that was restored from a backup, or
whose disk was away, is rewritten when a worker has it again.
"""

import asyncio
import fcntl
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Final, NamedTuple

from ingest.contracts.telemetry import Log
from workers.archive.reading import frame_of, keys, loaded
from workers.archive.rewriting import drop_unfinished, rewrite, sweep_replaced
from workers.archive.segment import Damaged, Segment
from workers.batch import Delivery, Entry, Trouble
from workers.database import Pool, transaction
from workers.erasure.payloads import veiled
from workers.erasure.suppressing import Pair, Suppressions
from workers.sql import statements

_SQL: Final = statements("erasure")
_LOG: Final = Log()

#: In an archive: which state of the list it was rewritten by.
_STATE_FILE: Final = "erased"
#: So often the list is asked for anew, in seconds.
_EVERY_SECONDS: Final = 1.0
#: A sweep rests as long as it works: others of its process have things to do.
_REST_AT_LEAST: Final = 0.001


class Swept(NamedTuple):
    """What a sweep changed."""

    segments: int = 0
    lines: int = 0


@dataclass(slots=True)
class Veiling:
    """The list as those who archive use it, in one process."""

    pool: Pool
    suppressions: Suppressions = field(default_factory=Suppressions)
    _asked_at: float = float("-inf")

    @property
    def version(self) -> int | None:
        """Of the list by which `veil` did last what it does."""
        return self.suppressions.version

    async def veil(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """What may be archived in place of these. Raises Trouble before the list is known."""
        await self._look()
        found = await veiled(self.pool, self.suppressions, deliveries)
        return [_or(found, delivery) for delivery in deliveries]

    async def review(
        self, directory: Path, segment: Segment, version: int | None
    ) -> None:
        """Rewrite a finished segment if the list is another than when it was begun."""
        self._asked_at = float("-inf")
        with suppress(Trouble, OSError):
            await self._look()
            if self.version == version:
                return
            await sweep_segment(self.pool, self.suppressions, directory, segment)

    async def _look(self) -> None:
        """Have a list that is no older than a second, as long as Postgres answers."""
        now = asyncio.get_running_loop().time()
        if now - self._asked_at < _EVERY_SECONDS:
            return
        try:
            await self.suppressions.refresh(self.pool)
        except Trouble:
            # While it is away, nobody can be erased.
            if self.suppressions.version is None:
                raise
        self._asked_at = now


async def keep_swept(pool: Pool, directory: Path, living: Sequence[str]) -> None:
    """Rewrite an archive that does not know the list. Raises Trouble, OSError.

    `living` are the workers whose unfinished segments are to be left alone. Of several
    workers that share the archive, one does it.
    """
    version, state = await _state(pool)
    if not version or not await asyncio.to_thread(directory.is_dir):
        return
    if state == await asyncio.to_thread(known_state, directory):
        return
    with _alone(directory) as is_alone:
        if is_alone:
            await sweep(pool, directory, living)


async def sweep(pool: Pool, directory: Path, living: Sequence[str]) -> Swept:
    """Rewrite what an archive says of who was erased. Raises Trouble, OSError."""
    suppressions, (version, state) = Suppressions(), await _state(pool)
    await asyncio.to_thread(sweep_replaced, directory)
    is_clean = await asyncio.to_thread(drop_unfinished, directory, living)
    total = Swept()
    for key in await asyncio.to_thread(lambda: list(keys(directory))):
        # One that cannot be read is told of by everybody else who reads.
        with suppress(Damaged, FileNotFoundError):
            segment = await asyncio.to_thread(loaded, directory, key)
            lines = await sweep_segment(pool, suppressions, directory, segment)
            total = Swept(total.segments + (lines > 0), total.lines + lines)
    if total.lines:
        _LOG.info("archive.erased", segments=total.segments, lines=total.lines)
    if is_clean:
        await asyncio.to_thread(_write_state, directory, state)
    place = (socket.gethostname(), str(await asyncio.to_thread(directory.resolve)))
    known = version if is_clean else 0
    async with transaction(pool) as connection:
        await connection.execute(_SQL["archive_swept"], *place, known, total.lines)
    return total


@contextmanager
def _alone(directory: Path) -> Iterator[bool]:
    """Whether nobody else is in here, on this archive."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_alone = True
    except BlockingIOError:
        is_alone = False
    try:
        yield is_alone
    finally:
        os.close(descriptor)


async def _state(pool: Pool) -> tuple[int, str]:
    """The list's version, and what tells it from all other lists."""
    async with transaction(pool) as connection:
        state: str = await connection.fetchval(_SQL["list_state"])
    return int(state.partition(" ")[0]), state


async def sweep_segment(
    pool: Pool, suppressions: Suppressions, directory: Path, segment: Segment
) -> int:
    """Rewrite one segment where it has to be; how many lines that changed."""
    while True:
        # Others may rewrite it too, or delete it for its age.
        with suppress(FileNotFoundError):
            found = await _found(pool, suppressions, directory, segment)
            frames = {at: deliveries for at, (deliveries, _) in found.items()}
            if not frames or await asyncio.to_thread(
                rewrite, directory, segment, frames
            ):
                return sum(count for _, count in found.values())
        try:
            segment = await asyncio.to_thread(loaded, directory, segment.key)
        except (Damaged, FileNotFoundError):
            return 0


async def _found(
    pool: Pool, suppressions: Suppressions, directory: Path, segment: Segment
) -> dict[int, tuple[Sequence[Delivery], int]]:
    """The frames to be written anew, by their numbers, and how many lines of each."""
    found: dict[int, tuple[Sequence[Delivery], int]] = {}
    for at, frame in enumerate(segment.frames):
        began = perf_counter()
        try:
            deliveries = await asyncio.to_thread(frame_of, directory, segment, frame)
        except Damaged as error:
            cause = str(error)
            _LOG.warning("archive.damaged", segment=segment.key, frame=at, cause=cause)
            continue
        changed = await veiled(pool, suppressions, deliveries, is_arriving=False)
        if changed:
            found[at] = ([_or(changed, each) for each in deliveries], len(changed))
        await asyncio.sleep(max(_REST_AT_LEAST, perf_counter() - began))
    return found


def known_state(directory: Path) -> str:
    """Which list an archive was rewritten by; nothing where it does not say."""
    try:
        return (directory / _STATE_FILE).read_text("ascii").strip()
    except (FileNotFoundError, ValueError):
        return ""


def _write_state(directory: Path, state: str) -> None:
    draft = directory / f"{_STATE_FILE}.{os.getpid()}"
    draft.write_text(f"{state}\n", "ascii")
    draft.replace(directory / _STATE_FILE)


def _or(found: Mapping[Entry, Pair], delivery: Delivery) -> Delivery:
    pair = found.get(delivery.entry)
    return pair[0] if pair else delivery
