"""Reading the archive: which segments there are, and their entries a page at a time.

Anyone above may import this. It touches files only and blocks while it does, so that async
callers go through `asyncio.to_thread`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from workers.archive.segment import Segment
from workers.batch import Delivery


class Page(NamedTuple):
    """Some entries, and from where to go on; `next` is None after the last of them.

    `damaged` counts entries that stood where this page was read and that nobody can read any
    more. A page may be empty and still have a next.
    """

    deliveries: Sequence[Delivery]
    next: str | None
    damaged: int


def read(
    directory: Path,
    from_ms: int,
    to_ms: int,
    shard: int | None = None,
    cursor: str | None = None,
) -> Page:
    """The next archived entries that were accepted from `from_ms` until before `to_ms`.

    Times are Unix milliseconds of the event's id: when an edge took it, also where it lay on
    a disk for hours before it reached the stream; where an entry has no readable id, when it
    arrived. `shard` confines it to one shard. `cursor` is the `next` of the page before, None
    at the beginning; it is a short text, good in another process and after segments came or
    went.

    Entries come segment by segment, the segments by arrival of their first entry, within one
    in order of arrival. An entry may come more than once (in two segments), never changed:
    the payload is byte for byte what was in the stream, and `entry` where it was. At most one
    frame of a segment is in memory (about 256 KiB, and what one event may be long).

    Every frame is verified by its checksum; one that does not match is left out with a
    warning, and counted in `damaged`. Segments without an index were never finished and never
    acknowledged: their entries are in a later one. Raises OSError where the directory cannot
    be read.
    """
    raise NotImplementedError


def segments(directory: Path) -> Iterator[Segment]:
    """All finished segments in order of their names. Raises OSError.

    A file that is no index, or an index that cannot be read, is left out with a warning.
    """
    raise NotImplementedError
