"""One segment of an archive under pseudonyms. Used by `archives`."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Final

from ingest.contracts.telemetry import Log
from workers.archive.reading import frame_of, loaded
from workers.archive.rewriting import rewrite
from workers.archive.segment import Damaged, Segment
from workers.batch import Delivery, Entry
from workers.database import Pool
from workers.erasure.payloads import veiled
from workers.erasure.suppressing import Pair, Suppressions

_LOG: Final = Log()

#: A sweep rests as long as it works: others of its process have things to do.
_REST_AT_LEAST: Final = 0.001


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
            now = await asyncio.to_thread(loaded, directory, segment.key)
        except (Damaged, FileNotFoundError):
            return 0
        if now == segment and await asyncio.to_thread(_has_no_file, directory, now):
            return 0
        segment = now


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
            found[at] = ([kept_or(changed, each) for each in deliveries], len(changed))
        await asyncio.sleep(max(_REST_AT_LEAST, perf_counter() - began))
    return found


def kept_or(found: Mapping[Entry, Pair], delivery: Delivery) -> Delivery:
    """The delivery, under a pseudonym where it has to be."""
    pair = found.get(delivery.entry)
    return pair[0] if pair else delivery


def _has_no_file(directory: Path, segment: Segment) -> bool:
    return not segment.data(directory).exists()
