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

from msgspec.structs import replace

from ingest.contracts.encoding import envelopes as encoding
from ingest.contracts.encoding.envelopes import NewerVersion, Undecodable
from workers.archive.reader import load_segment, note_damage, read_frame
from workers.archive.rewrite import rewrite
from workers.archive.segment import Segment, SegmentDamaged
from workers.erasure.pseudonyms import blank
from workers.erasure.suppression import Pair, Suppressions
from workers.model.batch import Delivery, Entry
from workers.postgres.database import Pool

#: A sweep pauses as long as it works, at least so many seconds: its process records events.
_REST_AT_LEAST: Final = 0.001


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
    classify = partial(_classify, suppressions, deliveries)
    named, blanked, newer = await asyncio.to_thread(classify)
    pairs = await suppressions.pseudonymize(pool, named, is_arriving=is_arriving)
    if blanked and is_arriving:
        await suppressions.note_leftovers(pool, blanked)
    found = {entry: delivery for entry, (delivery, _) in pairs.items()}
    return PseudonymizedPayload(found | blanked, len(blanked), newer)


def _classify(
    suppressions: Suppressions, deliveries: Iterable[Delivery]
) -> tuple[list[Pair], dict[Entry, Delivery], int]:
    """Events of erased persons, blanked payloads, and the number of newer envelopes."""
    pairs: list[Pair] = []
    blanked: dict[Entry, Delivery] = {}
    newer = 0
    for delivery in deliveries:
        try:
            envelope = encoding.decode(delivery.payload)
        except NewerVersion:
            newer += 1
        except Undecodable:
            left = blank(delivery.payload)
            if left != delivery.payload and suppressions.may_name(delivery.payload):
                blanked[delivery.entry] = replace(delivery, payload=left)
        else:
            if suppressions.owner(envelope) is not None:
                pairs.append((delivery, envelope))
    return pairs, blanked, newer


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
        data = now.data(directory)
        if now == segment and not await asyncio.to_thread(data.exists):
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
            note_damage(segment=segment.key, frame=at, cause=cause)
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
