"""One directory of spooled events: appended in groups, taken oldest first.

Segments are numbered files of records; the last one grows up to a limit. Removing events
moves a position: everything before it is done, and files before it are deleted. The position
is not synced, since an old position only means that events are sent again.

Not thread-safe.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

from ingest.durable.spool.files import Files
from ingest.durable.spool.records import (
    DamagedBytes,
    SpoolItem,
    SpoolRecord,
    SpoolTally,
    encode,
    scan,
    tally,
)

SUFFIX: Final = ".events"
_CURSOR: Final = "removed"
#: The position's file: segment and offset; a checksum follows.
_POSITION: Final = Struct(">QQ")
_CHECKSUM: Final = 4
#: The suffix of segments with unreadable bytes.
_DAMAGED: Final = ".damaged"
_SEGMENT_BYTES: Final = 4 << 20
#: So many bytes are counted; of the rest, as many events are in as many bytes.
_COUNTED: Final = 64 << 20


class SpoolFull(Exception):
    """The events need more bytes than there is room for."""


class SpoolPosition(NamedTuple):
    """A position in a store; positions sort by age."""

    segment: int
    offset: int


class KeptRecord(NamedTuple):
    """A spooled event and its position."""

    place: SpoolPosition
    item: SpoolItem


class SpoolDamaged(NamedTuple):
    """Unreadable bytes of a segment, and the file that keeps them."""

    segment: Path
    start: int
    end: int
    aside: Path


class SpoolStore:
    """A directory that only this process writes. All methods raise OSError."""

    def __init__(
        self, files: Files, folder: Path, report: Callable[[SpoolDamaged], None]
    ) -> None:
        """`report` is called once for each damage that reading finds."""
        self.folder = folder
        self._files = files
        self._report = report
        self._sizes = self._segment_sizes()
        self._damaged = self._numbers(_DAMAGED)
        self._growing: int | None = None
        self._read_to = self._read_position()
        # Numbers are never reused: segments before the position are never read.
        self._last = max([self._read_to.segment, *self._sizes])
        self._window: list[KeptRecord] = []

    @property
    def bytes(self) -> int:
        return sum(self._sizes.values())

    @property
    def is_empty(self) -> bool:
        return not self._sizes

    def tally(self) -> SpoolTally:
        """What waits; of more than 64 MiB it is an estimate."""
        events = size = counted = left = 0
        first = None
        segment, offset = self._read_to
        for number, end in self._sizes.items():
            start = offset if number == segment else 0
            if number < segment:
                continue
            if counted >= _COUNTED:
                left += end - start
                continue
            found = tally(self._files.read(self._path(number), start, end))
            events, size = events + found.events, size + found.bytes
            counted, first = counted + end - start, first or found.first
        share = 1 + left / counted if counted else 1
        return SpoolTally(round(events * share), round(size * share), first)

    def append(self, items: Sequence[SpoolItem], room: int) -> None:
        """Write and sync events, all or none; SpoolFull if they need more than `room` bytes.

        After any other error it is unknown whether they are stored.
        """
        raw = b"".join(map(encode, items))
        if len(raw) > room:
            raise SpoolFull
        if self._growing is None:
            self._last += 1
            self._growing = self._last
            self._sizes[self._last] = 0
        number = self._growing
        size = self._sizes[number]
        try:
            self._files.write(self._path(number), size, raw)
            if size == 0:
                self._files.sync(self.folder)
        except OSError:
            self._seal_failed(number)
            raise
        self._sizes[number] = size + len(raw)
        if self._sizes[number] >= _SEGMENT_BYTES:
            self._growing = None

    def take(self, most: int) -> Sequence[KeptRecord]:
        """The oldest events."""
        while len(self._window) < most and (ahead := self._next_segment()):
            self._read(ahead)
        if not self._window:
            self._drop_done()
        return self._window[:most]

    def remove(self, places: Collection[SpoolPosition]) -> None:
        """Delete events that were taken."""
        self._window = [kept for kept in self._window if kept.place not in places]
        self._drop_done()

    def _next_segment(self) -> int | None:
        """The first segment that was not read to its end."""
        segment, offset = self._read_to
        for number, size in self._sizes.items():
            if number > segment or (number == segment and size > offset):
                return number
        return None

    def _read(self, number: int) -> None:
        segment, offset = self._read_to
        start = offset if number == segment else 0
        raw = self._files.read(self._path(number), start, self._sizes[number])
        end = start + len(raw)
        if end < self._sizes[number]:  # it was truncated
            self._note(number, DamagedBytes(end, self._sizes[number]))
            self._sizes[number] = end
        for found in scan(raw, start):
            if isinstance(found, SpoolRecord):
                self._window.append(
                    KeptRecord(SpoolPosition(number, found.start), found.item)
                )
            else:
                self._note(number, found)
        self._read_to = SpoolPosition(number, end)

    def _note(self, number: int, damage: DamagedBytes) -> None:
        path = self._path(number)
        with suppress(OSError):  # then it is reported again after a restart
            self._files.replace(path.with_suffix(_DAMAGED), b"")
        self._damaged.add(number)
        self._report(
            SpoolDamaged(path, damage.start, damage.end, self._damaged_path(number))
        )

    def _drop_done(self) -> None:
        """Delete finished segments, and store the position in the first one left."""
        first = self._window[0].place if self._window else self._read_to
        for number in list(self._sizes):
            is_done = number < first.segment or (
                number == first.segment and first.offset >= self._sizes[number]
            )
            if is_done:
                self._drop(number)
        if first.segment in self._sizes and first.offset:
            raw = _POSITION.pack(*first)
            self._files.replace(
                self.folder / _CURSOR, raw + crc32(raw).to_bytes(_CHECKSUM)
            )

    def _drop(self, number: int) -> None:
        if number in self._damaged:
            self._files.move(self._path(number), self._damaged_path(number))
            self._files.remove(self._path(number).with_suffix(_DAMAGED))
            self._damaged.discard(number)
        else:
            self._files.remove(self._path(number))
        del self._sizes[number]
        if self._growing == number:
            self._growing = None

    def _seal_failed(self, number: int) -> None:
        """Begin a new file: after a failed write this one's end is unknown.

        Reading stops at the last good byte; the rest is truncated if possible.
        """
        self._growing = None
        try:
            if self._sizes[number]:
                self._files.truncate(self._path(number), self._sizes[number])
            else:
                self._files.remove(self._path(number))
        except OSError:
            return
        finally:
            if not self._sizes[number]:
                del self._sizes[number]

    def _segment_sizes(self) -> dict[int, int]:
        """The sizes of the segments by number, sorted."""
        return {
            number: size
            for number in sorted(self._numbers(SUFFIX))
            if (size := self._files.size(self._path(number)))
        }

    def _numbers(self, suffix: str) -> set[int]:
        """The numbers of the segments that have a file of this kind."""
        stems = (
            name.removesuffix(suffix)
            for name in self._files.names(self.folder)
            if name.endswith(suffix)
        )
        return {int(stem) for stem in stems if stem.isdecimal()}

    def _read_position(self) -> SpoolPosition:
        """The stored position; the beginning if there is none or it is damaged.

        A damaged one is deleted: numbers begin anew, and it must not be believed later.
        """
        nothing = SpoolPosition(0, 0)
        if _CURSOR not in self._files.names(self.folder):
            return nothing
        size = _POSITION.size + _CHECKSUM
        raw = self._files.read(self.folder / _CURSOR, 0, size)
        position, checksum = raw[: _POSITION.size], raw[_POSITION.size :]
        if len(raw) < size or crc32(position) != int.from_bytes(checksum):
            self._files.remove(self.folder / _CURSOR)
            return nothing
        return SpoolPosition(*_POSITION.unpack(position))

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:08}{SUFFIX}"

    def _damaged_path(self, number: int) -> Path:
        folder = self.folder
        return folder.parent / "damaged" / f"{folder.name}-{number:08}{SUFFIX}"
