"""Reads the archive: its segments, and their entries a page at a time.

Blocking: async callers use `asyncio.to_thread`.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from hashlib import file_digest
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

from zstandard import ZstdDecompressor, ZstdError

from ingest.contracts.metrics.worker import ARCHIVE_DAMAGED
from ingest.contracts.stream import EntryId, holds_several
from ingest.contracts.telemetry import Log
from workers.archive.segment import (
    DATA_SUFFIX,
    INDEX_SUFFIX,
    Frame,
    Segment,
    SegmentDamaged,
    accepted_ms,
    arrived_id,
    day_of,
    delivery_of,
    index_path,
    key_of_file,
)
from workers.model.batch import Delivery, deliveries_of

_LOG: Final = Log()

#: An entry's id may be older than its event's, by as much as clocks differ: a day.
_CLOCK_SKEW_MS: Final = 86_400_000
#: Decoded indexes are kept, since a page is a frame of many.
_KEPT: Final = 16


class SegmentMissing(Exception):
    """Only an object store has this segment's file."""

    def __init__(self, key: str) -> None:
        """`key` is the segment's."""
        super().__init__(f"only the object store has {key}")
        self.key = key


class SegmentPage(NamedTuple):
    """Some entries, and the cursor of the next page; `next` is None after the last.

    `damaged` counts the entries of this page that cannot be read any more, of `segment`;
    `skipped` those that were read and are of other times. A page may be empty and still have a
    next.
    """

    deliveries: Sequence[Delivery]
    next: str | None
    damaged: int = 0
    segment: str = ""
    skipped: int = 0


class FoundFrames(NamedTuple):
    """A segment, and the numbers of some of its frames, ascending: at least one."""

    segment: Segment
    frames: Sequence[int]

    @property
    def after(self) -> str:
        """The cursor behind all of them."""
        return cursor_after(self.segment.key, self.frames[-1])


class Extent(NamedTuple):
    """About how many entries a time range has, and which segments' indexes are unreadable."""

    entries: int
    unreadable: Sequence[str]


def read(
    directory: Path,
    from_ms: int,
    to_ms: int,
    shard: int | None = None,
    cursor: str | None = None,
) -> SegmentPage:
    """The next archived entries that were accepted in `from_ms` <= time < `to_ms`.

    Times are Unix milliseconds of the event's id, that is of its acceptance by an edge, even
    if the event was spooled for hours. An entry without a readable id counts by its arrival.
    `shard` limits the result to one shard. `cursor` is the `next` of the previous page, or
    None. It stays valid in other processes and while segments come and go.

    Segments come in order of their first entry, the entries of a segment in order of arrival.
    An entry may come twice (in two segments). Its payload is byte for byte what the stream
    held. One frame is in memory at a time: 256 KiB, or one longer event.

    A frame whose checksum does not match is left out with a warning and counted in `damaged`.
    A segment without an index was never finished; its entries are in a later one. Raises
    OSError if the directory cannot be read, ValueError for an invalid cursor, SegmentMissing
    if a segment has to be fetched first.
    """
    found = find(directory, from_ms, to_ms, shard, cursor)
    if found is None:
        return SegmentPage((), None)
    return read_found(directory, from_ms, to_ms, found.segment, found.frames[0])


def find(
    directory: Path,
    from_ms: int,
    to_ms: int,
    shard: int | None = None,
    cursor: str | None = None,
) -> FoundFrames | None:
    """The next frames of a segment that may have such entries; None at the end.

    Raises OSError, ValueError.
    """
    begin, number = _parse_cursor(cursor)
    begin = max(begin, day_of(from_ms - _CLOCK_SKEW_MS))
    for segment in segments(directory, begin, shard=shard):
        if not segment.accepted.overlaps(from_ms, to_ms):
            continue
        first = number if segment.key == begin else 0
        frames = [
            at
            for at, frame in enumerate(segment.frames[first:], first)
            if frame.accepted.overlaps(from_ms, to_ms)
        ]
        if frames:
            return FoundFrames(segment, frames)
    return None


def read_found(
    directory: Path, from_ms: int, to_ms: int, segment: Segment, at: int
) -> SegmentPage:
    """The entries of a frame that were accepted in that time. Raises SegmentMissing."""
    page = _page(directory, segment, at)
    first, last = segment.frames[at].accepted
    # An entry of several events, as a former release archived them, says nothing of their times.
    is_whole = len(page.deliveries) == segment.frames[at].entries
    if is_whole and from_ms <= first and last < to_ms:
        return page
    kept = [each for each in page.deliveries if from_ms <= accepted_ms(each) < to_ms]
    return page._replace(deliveries=kept, skipped=len(page.deliveries) - len(kept))


def extent(directory: Path, from_ms: int, to_ms: int, shard: int) -> Extent:
    """What the frames of a shard have that `read` would open.

    Nothing if there is no archive yet. Raises OSError.
    """
    if not directory.is_dir():
        return Extent(0, ())
    unreadable: list[str] = []
    begin = day_of(from_ms - _CLOCK_SKEW_MS)
    entries = sum(
        frame.entries
        for segment in segments(directory, begin, unreadable.append, shard)
        if segment.accepted.overlaps(from_ms, to_ms)
        for frame in segment.frames
        if frame.accepted.overlaps(from_ms, to_ms)
    )
    # Spooled events arrive at any time after their own.
    return Extent(entries, unreadable)


def segments(
    directory: Path,
    begin: str = "",
    report: Callable[[str], object] = str,
    shard: int | None = None,
) -> Iterator[Segment]:
    """The finished segments, of one shard or all, sorted by key, from a key or a day on.

    An unreadable index is left out with a warning; `report` gets its key. Raises OSError.
    """
    for key in keys(directory, begin):
        # Keys say the shard, so that the indexes of others need not be read.
        if shard is not None and f".s{shard}." not in key:
            continue
        try:
            yield load_segment(directory, key)
        except FileNotFoundError:
            continue  # retention has deleted it since it was listed
        except (SegmentDamaged, OSError) as error:
            note_damage(segment=key, cause=str(error))
            report(key)


def note_damage(**found: object) -> None:
    """Say and count that a part of the archive cannot be read."""
    ARCHIVE_DAMAGED.inc()
    _LOG.warning("archive.damaged", **found)


def keys(directory: Path, begin: str = "") -> Iterator[str]:
    """The keys of all indexes, from a key or a day on, in order. Raises OSError."""
    from_day, _, _ = begin.partition("/")
    for day in sorted(each.name for each in directory.iterdir() if each.is_dir()):
        # Skip `open` and foreign directories.
        if not day[0].isdigit() or day < from_day:
            continue
        yield from (key for key in keys_of_day(directory / day) if key >= begin)


def keys_of_day(day: Path) -> list[str]:
    """The keys in the directory of a day, sorted. Raises OSError."""
    names = sorted(each.name for each in day.glob(f"*{INDEX_SUFFIX}"))
    return [f"{day.name}/{name.removesuffix(INDEX_SUFFIX)}" for name in names]


def load_segment(directory: Path, key: str) -> Segment:
    """The segment of a key. Raises SegmentDamaged, OSError."""
    return _decoded(key, index_path(directory, key).read_bytes())


@lru_cache(_KEPT)
def _decoded(key: str, index: bytes) -> Segment:
    return Segment.decode(key, index)


def stored_record(directory: Path, key: str) -> Path:
    """The file that names the object store which has the segment; see `inventory`."""
    return directory / f"{key}.stored"


def read_frame(directory: Path, segment: Segment, frame: Frame) -> Sequence[Delivery]:
    """The entries of a frame, verified. Raises SegmentDamaged, OSError."""
    with segment.data(directory).open("rb") as file:
        file.seek(frame.offset)
        data = file.read(frame.length)
    if crc32(data) != frame.crc32:
        raise SegmentDamaged("the checksum of a frame does not match")
    try:
        text = ZstdDecompressor().decompress(data)
    except ZstdError as error:
        raise SegmentDamaged(f"not a frame: {error}") from error
    deliveries = [delivery_of(line) for line in text.split(b"\n")[:-1]]
    if len(deliveries) != frame.entries:
        raise SegmentDamaged(f"{len(deliveries)} entries instead of {frame.entries}")
    return deliveries


def reload_if_changed(directory: Path, segment: Segment) -> Segment | None:
    """The segment as it is now; None if it is gone or unchanged."""
    try:
        now = load_segment(directory, segment.key)
    except (SegmentDamaged, OSError):
        return None
    return None if now == segment else now


def _page(directory: Path, segment: Segment, at: int) -> SegmentPage:
    following = cursor_after(segment.key, at)
    frame = segment.frames[at]
    try:
        # A former release archived an entry of several events as one line.
        found: list[Delivery] = []
        for line in read_frame(directory, segment, frame):
            if holds_several(line.payload):
                found += deliveries_of(line.entry, line.payload)
            else:
                found.append(line)
        return SegmentPage(found, following)
    except (SegmentDamaged, OSError) as error:
        # An erasure has rewritten it: the same entries are in the same frames.
        if now := reload_if_changed(directory, segment):
            return _page(directory, now, at)
        # Retention deletes the index first: if both are gone, the segment was too old.
        if isinstance(error, FileNotFoundError):
            if not segment.index(directory).exists():
                return SegmentPage((), following)
            if stored_record(directory, segment.key).exists():
                raise SegmentMissing(segment.key) from error
        cause = str(error)
    note_damage(segment=segment.key, frame=at, cause=cause)
    return SegmentPage((), following, frame.entries, segment.key)


def unfinished(directory: Path) -> Iterator[Path]:
    """Files of segments without an index, left by a crash. Raises OSError."""
    for path in sorted(directory.glob(f"[0-9]*/*{DATA_SUFFIX}")):
        if not index_path(directory, key_of_file(path)).exists():
            yield path


def cursor_after(key: str, at: int) -> str:
    """The cursor behind a frame of a segment."""
    return f"{key}#{at + 1}"


def _parse_cursor(cursor: str | None) -> tuple[str, int]:
    """The segment's key and the frame's number of a cursor."""
    if cursor is None:
        return "", 0
    key, _, number = cursor.rpartition("#")
    if not key or not number.isdecimal():
        raise ValueError(f"{cursor!r} is not an archive cursor")
    return key, int(number)


def problem(directory: Path, segment: Segment) -> str | None:
    """What is wrong with a segment; None: it is intact. Reads every byte of it."""
    found = _problem_of(directory, segment)
    # An erasure may have rewritten it since it was listed.
    if found and (now := reload_if_changed(directory, segment)):
        return problem(directory, now)
    return found


def _problem_of(directory: Path, segment: Segment) -> str | None:
    try:
        with segment.data(directory).open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
        if digest != segment.sha256:
            return "the file's SHA-256 is not that of its index"
        arrivals = _arrivals(directory, segment)
        first = last = next(arrivals)
        count = 1
        for arrived in arrivals:
            if arrived <= last:
                return f"{arrived[0]} follows {last[0]}"
            count, last = count + 1, arrived
    except (SegmentDamaged, OSError) as error:
        return str(error)
    if (first[0], last[0], count) != (segment.first, segment.last, segment.entries):
        return f"it has {count} events, from {first[0]} to {last[0]}"
    return None


def _arrivals(directory: Path, segment: Segment) -> Iterator[tuple[EntryId, int]]:
    """All events' entries and places in them. Raises SegmentDamaged, OSError."""
    for frame in segment.frames:
        for each in read_frame(directory, segment, frame):
            at = accepted_ms(each)
            if not frame.accepted.overlaps(at, at + 1):
                raise SegmentDamaged(
                    f"{each.entry.stream_id} is outside its frame's time range"
                )
            yield arrived_id(each.entry), each.entry.ordinal
