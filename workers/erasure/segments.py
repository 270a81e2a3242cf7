"""Pseudonymizes one segment of an archive."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Final, NamedTuple

from ingest.contracts.telemetry import Log
from workers.archive.reader import load_segment, read_frame
from workers.archive.rewrite import rewrite
from workers.archive.segment import Segment, SegmentDamaged
from workers.erasure.payloads import pseudonymize_payloads
from workers.erasure.suppression import Suppressions
from workers.model.batch import Delivery
from workers.postgres.database import Pool

_LOG: Final = Log()

#: A sweep pauses as long as it works, at least so many seconds: its process records events.
_REST_AT_LEAST: Final = 0.001


class RewrittenSegment(NamedTuple):
    """What a sweep changed: segments, lines, and lines that were blanked.

    `newer` counts lines of a later release, which it did not change.
    """

    segments: int = 0
    lines: int = 0
    blanked: int = 0
    newer: int = 0

    def plus(self, more: "RewrittenSegment") -> "RewrittenSegment":
        return RewrittenSegment(
            *(one + other for one, other in zip(self, more, strict=True))
        )


async def sweep_segment(
    pool: Pool, suppressions: Suppressions, directory: Path, segment: Segment
) -> RewrittenSegment:
    """Rewrite one segment if it names erased persons."""
    while True:
        # Another process may rewrite it too; retention may delete it.
        with suppress(FileNotFoundError):
            frames, swept = await _found(pool, suppressions, directory, segment)
            if not frames or await asyncio.to_thread(
                rewrite, directory, segment, frames
            ):
                return swept
        try:
            now = await asyncio.to_thread(load_segment, directory, segment.key)
        except (SegmentDamaged, FileNotFoundError):
            return RewrittenSegment()
        if now == segment and await asyncio.to_thread(_has_no_file, directory, now):
            return RewrittenSegment()
        segment = now


async def _found(
    pool: Pool, suppressions: Suppressions, directory: Path, segment: Segment
) -> tuple[dict[int, Sequence[Delivery]], RewrittenSegment]:
    """The frames to rewrite, by number, and what that changes."""
    frames: dict[int, Sequence[Delivery]] = {}
    swept = RewrittenSegment()
    for at, frame in enumerate(segment.frames):
        began = perf_counter()
        try:
            deliveries = await asyncio.to_thread(read_frame, directory, segment, frame)
        except SegmentDamaged as error:
            cause = str(error)
            _LOG.warning("archive.damaged", segment=segment.key, frame=at, cause=cause)
            continue
        some = await pseudonymize_payloads(
            pool, suppressions, deliveries, is_arriving=False
        )
        if some.found:
            frames[at] = [some.replacement(each) for each in deliveries]
        swept = swept.plus(
            RewrittenSegment(0, len(some.found), some.blanked, some.newer)
        )
        await asyncio.sleep(max(_REST_AT_LEAST, perf_counter() - began))
    return frames, swept._replace(segments=int(bool(frames)))


def _has_no_file(directory: Path, segment: Segment) -> bool:
    return not segment.data(directory).exists()
