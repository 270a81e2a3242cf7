"""Pseudonymizes stored payloads.

Envelopes are pseudonymized. Payloads that are not envelopes are blanked if they name an
erased person. Envelopes of a later release are left to workers that can read them, and
counted.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Final, NamedTuple

from ingest.contracts import envelope as codec
from ingest.contracts.envelope import NewerVersion, Undecodable
from ingest.contracts.telemetry import Log
from workers.archive.reader import load_segment, read_frame
from workers.archive.rewrite import rewrite
from workers.archive.segment import Segment, SegmentDamaged
from workers.erasure.pseudonyms import blank
from workers.erasure.suppression import Pair, Suppressions
from workers.model.batch import Delivery, Entry
from workers.postgres.database import Pool


@dataclass(frozen=True, slots=True)
class PseudonymizedPayload:
    """Replacements of some deliveries, by entry.

    `blanked` counts those that were not envelopes, `newer` envelopes of a later release.
    """

    found: Mapping[Entry, Delivery] = field(default_factory=dict)
    blanked: int = 0
    newer: int = 0

    def replacement(self, delivery: Delivery) -> Delivery:
        """The delivery itself, or its replacement."""
        return self.found.get(delivery.entry, delivery)


@dataclass(slots=True)
class _Classified:
    """Deliveries by what has to be done with them."""

    pairs: list[Pair] = field(default_factory=list)
    blanks: dict[Entry, Delivery] = field(default_factory=dict)
    newer: int = 0


async def pseudonymize_payloads(
    pool: Pool,
    suppressions: Suppressions,
    deliveries: Iterable[Delivery],
    *,
    is_arriving: bool = True,
) -> PseudonymizedPayload:
    """Replace the deliveries that name erased persons.

    Arriving deliveries have copies in Redis, which are listed for deletion. Raises
    TransientError.
    """
    await suppressions.ready(pool)
    if suppressions.is_empty:
        return PseudonymizedPayload()
    some = await asyncio.to_thread(partial(_classify, suppressions, deliveries))
    pairs = await suppressions.pseudonymize(pool, some.pairs, is_arriving=is_arriving)
    if some.blanks and is_arriving:
        await suppressions.note_leftovers(pool, some.blanks)
    found = {entry: delivery for entry, (delivery, _) in pairs.items()}
    return PseudonymizedPayload(found | some.blanks, len(some.blanks), some.newer)


def _classify(
    suppressions: Suppressions, deliveries: Iterable[Delivery]
) -> _Classified:
    some = _Classified()
    for delivery in deliveries:
        try:
            envelope = codec.decode(delivery.payload)
        except NewerVersion:
            some.newer += 1
        except Undecodable:
            left = blank(delivery.payload)
            if left != delivery.payload and suppressions.may_name(delivery.payload):
                blanked = Delivery(delivery.entry, left, delivery.times)
                some.blanks[delivery.entry] = blanked
        else:
            if suppressions.owner(envelope) is not None:
                some.pairs.append((delivery, envelope))
    return some


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
