"""Verifies that a segment of the archive is what was written.

Blocking. Reads every byte, one frame at a time.
"""

from collections.abc import Iterator
from hashlib import file_digest
from pathlib import Path
from typing import NamedTuple

from ingest.contracts.stream import EntryId
from workers.archive.reader import read_frame, reload_if_changed
from workers.archive.segment import Segment, SegmentDamaged, accepted_ms, arrived_id


def problem(directory: Path, segment: Segment) -> str | None:
    """What is wrong with a segment; None: it is intact."""
    found = _problem_of(directory, segment)
    # An erasure may have rewritten it since it was listed.
    if found and (now := reload_if_changed(directory, segment)):
        return problem(directory, now)
    return found


class _Arrival(NamedTuple):
    """Where an event arrived: ordered as in a segment."""

    id: EntryId
    ordinal: int


def _problem_of(directory: Path, segment: Segment) -> str | None:
    try:
        with segment.data(directory).open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
        if digest != segment.sha256:
            return "the file's SHA-256 is not that of its index"
        return _problem(segment, _arrivals(directory, segment))
    except (SegmentDamaged, OSError) as error:
        return str(error)


def _problem(segment: Segment, arrivals: Iterator[_Arrival]) -> str | None:
    first = last = next(arrivals)
    count = 1
    for arrived in arrivals:
        if arrived <= last:
            return f"{arrived.id} follows {last.id}"
        count, last = count + 1, arrived
    if (first.id, last.id, count) != (segment.first, segment.last, segment.entries):
        return f"it has {count} events, from {first.id} to {last.id}"
    return None


def _arrivals(directory: Path, segment: Segment) -> Iterator[_Arrival]:
    """The ids of all events' entries. Raises SegmentDamaged, OSError."""
    for frame in segment.frames:
        for each in read_frame(directory, segment, frame):
            at = accepted_ms(each)
            if not frame.accepted.overlaps(at, at + 1):
                raise SegmentDamaged(
                    f"{each.entry.stream_id} is outside its frame's time range"
                )
            yield _Arrival(arrived_id(each.entry), each.entry.ordinal)
