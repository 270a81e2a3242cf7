"""Gives the archive's segments the contents that replays look things up in."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from workers.archive.reindex import has_contents, reindex
from workers.archive.segment import Segment


class Reindexing(NamedTuple):
    """Segments with contents, those to read, and those whose files are not here."""

    done: Sequence[Segment]
    left: Sequence[Segment]
    absent: Sequence[Segment]

    def told(self) -> dict[str, Any]:
        return {
            "segments": len(self.done) + len(self.left) + len(self.absent),
            "indexed": len(self.done),
            "left": len(self.left),
            "left_entries": sum(each.entries for each in self.left),
            "absent": len(self.absent),
        }


def planned(directory: Path, found: Sequence[Segment], *, is_all: bool) -> Reindexing:
    """What there is to do. `is_all`: anew also where contents are readable."""
    done: list[Segment] = []
    left: list[Segment] = []
    absent: list[Segment] = []
    for segment in found:
        if not is_all and has_contents(directory, segment):
            done.append(segment)
        elif segment.data(directory).exists():
            left.append(segment)
        else:
            absent.append(segment)
    return Reindexing(done, left, absent)


def carry_out(
    directory: Path, left: Sequence[Segment], advance: Callable[[int], object]
) -> list[tuple[str, str]]:
    """Read these segments; what is wrong with some of them.

    Every segment is finished by itself, so that stopping loses one. `advance` is told of
    entries that were read. Raises OSError if a file cannot be written.
    """
    wrong: list[tuple[str, str]] = []
    for segment in left:
        try:
            damaged = reindex(directory, segment, advance)
        except FileNotFoundError:
            # Retention, or an erasure that rewrote it: the next run sees which.
            wrong.append((segment.key, "its file is gone"))
            continue
        if damaged:
            wrong.append((segment.key, f"{damaged} entries cannot be read"))
    return wrong
