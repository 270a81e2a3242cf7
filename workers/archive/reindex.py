"""Writes down what segments name that do not have it yet: those of a former release. Blocking."""

from collections.abc import Callable
from pathlib import Path

from workers.archive.contents import (
    ContentsBuilder,
    contents_path,
    load_contents,
    publish_contents,
)
from workers.archive.reader import read_frame
from workers.archive.segment import Segment, SegmentDamaged
from workers.model.batch import deliveries_of


def has_contents(directory: Path, segment: Segment) -> bool:
    """Whether the contents of a segment are written down, and readable."""
    return load_contents(directory, segment) is not None


def reindex(directory: Path, segment: Segment, advance: Callable[[int], object]) -> int:
    """Write down the contents of a segment; how many of its entries cannot be read.

    `advance` is told of entries as they are read. A frame that cannot be read may have anything.
    Raises OSError, FileNotFoundError if the segment's file is not here.
    """
    builder, damaged = ContentsBuilder(), 0
    for frame in segment.frames:
        try:
            lines = read_frame(directory, segment, frame)
        except SegmentDamaged:
            lines, damaged = (), damaged + frame.entries
        for line in lines:
            # A former release archived an entry of several events as one line.
            for event in deliveries_of(line.entry, line.payload):
                builder.add(event.payload)
        builder.end_frame(frame.entries, is_opaque=not lines)
        advance(frame.entries)
    publish_contents(directory, segment.key, builder.encode(segment.key))
    if not segment.index(directory).exists():
        # Retention has deleted it meanwhile.
        contents_path(directory, segment.key).unlink(missing_ok=True)
    return damaged
