"""Keeps what an edge appended where it outlives a process that is killed.

A log is a file in shared memory, mapped: a record costs a copy, no system call and no disk that
may hang. A process that is killed has written a record before it answers, or not at all. What
ends with the machine is lost.

The file has two areas. What one has after the edge's counts was appended since; what it has
before them, they include, and what the other area has, too.
"""

import fcntl
import mmap
import os
import stat
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, Self

from ingest.contracts.stream import VanishedEntry

#: Of a shard: ten thousand clicks.
_SHARD_BYTES: Final = 512 * 1024
#: What an edge that adopts it may write beside what is there.
_SPARE_BYTES: Final = 4096
_MODE: Final = 0o600

#: The words at the start of the file.
_MAGIC_WORD, _STATE_WORD, _AREA_WORD = range(3)
_USED_WORDS: Final = (3, 4)
_HEADER: Final = 64
_MAGIC: Final = int.from_bytes(b"rtappnd1", "little")
#: The state: which area is written, and whether the other one belongs to it.
_BOTH: Final = 2

#: What a record begins with: its shard, and the lengths of its entry's id, of its events' ids
#: and of the rest.
_RECORD: Final = struct.Struct("<HHHI")
_COUNTS: Final = 0xFFFF
_VANISHED: Final = 0xFFFE


class Appended(NamedTuple):
    """An entry with the ids of its events; its id is empty if nobody answered.

    `claims` are the dedupe keys of its events, packed; empty if they have none.
    """

    shard: int
    entry: bytes
    event_ids: bytes
    claims: bytes = b""


class Contents(NamedTuple):
    """The counts of an edge, the entries that vanished, and those that it appended.

    The counts include `counted`, and do not include `later`.
    """

    counts: bytes
    vanished: Sequence[VanishedEntry]
    counted: Sequence[Appended]
    later: Sequence[Appended]


class AppendLog:
    """One edge's log, whose lock this process holds."""

    def __init__(self, descriptor: int, path: Path) -> None:
        """`descriptor` holds the lock; raises OSError."""
        self._descriptor = descriptor
        self.path = path
        self._map = mmap.mmap(descriptor, 0)
        self._words = memoryview(self._map)[:_HEADER].cast("Q")
        self._area = self._words[_AREA_WORD]
        self._used = self._start = self._limit = self._end = 0
        self._go_on(self._words[_STATE_WORD] % 2)
        self._count: Callable[[], bytes] = bytes

    @classmethod
    def create(cls, path: Path, shards: int) -> Self:
        """A new log; raises OSError."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        descriptor = os.open(path, flags, _MODE)
        try:
            # Another edge lets go of what has no beginning yet.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            area = shards * _SHARD_BYTES
            # Memory that is not there when it is written to would end the process.
            os.posix_fallocate(descriptor, 0, _HEADER + 2 * area)
            os.pwrite(descriptor, struct.pack("<QQQ", _MAGIC, 0, area), 0)
            return cls(descriptor, path)
        except OSError:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise

    @classmethod
    def adopt(cls, path: Path) -> Self | None:
        """The log of an edge that is gone; None if one is using it, or it is none of ours."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_ours(descriptor, path):
                return cls(descriptor, path)
        except OSError:
            pass
        os.close(descriptor)
        return None

    def begin(self, count: Callable[[], bytes]) -> None:
        """`count` gives the edge's counts whenever an area begins."""
        self._count = count

    def note(self, shard: int, entry: bytes, event_ids: bytes, claims: bytes) -> None:
        """Keep an entry before it is counted."""
        record = _packed(shard, claims, entry, event_ids)
        end = self._end + len(record)
        if end > self._limit:
            self._turn()
            end = self._end + len(record)
        self._map[self._end : end] = record
        # Only now it is there.
        self._words[self._used] = end - self._start
        self._end = end

    def rewrite(
        self, entries: Iterable[Appended], vanished: Iterable[VanishedEntry]
    ) -> None:
        """Keep these and nothing else: the first of each that there is room for."""
        counts = _packed(_COUNTS, self._count())
        room = self._area - len(counts)
        kept: list[bytes] = []
        for record in _records(entries, vanished):
            room -= len(record)
            if room < 0:
                break
            kept.append(record)
        self._write(b"".join([*reversed(kept), counts]), both=0)

    def contents(self) -> Contents | None:
        """What the log has; None if its edge had not yet begun."""
        state = self._words[_STATE_WORD]
        records = [*self._read(1 - state % 2)] if state & _BOTH else []
        records += self._read(state % 2)
        places = [at for at, one in enumerate(records) if one.shard == _COUNTS]
        if not places:
            return None
        counted, counts, later = (
            records[: places[-1]], records[places[-1]].rest, records[places[-1] + 1 :],
        )  # fmt: skip
        vanished = [
            VanishedEntry.unpack(one.rest) for one in counted if one.shard == _VANISHED
        ]
        return Contents(counts, vanished, [*_entries(counted)], [*_entries(later)])

    @property
    def used(self) -> int:
        """How many bytes it has, without what is free."""
        return sum(self._words[word] for word in _USED_WORDS)

    def shrink(self) -> None:
        """Give back what nothing is in, before it is left; raises OSError."""
        used = [self._words[word] for word in _USED_WORDS]
        area = sum(used) + _SPARE_BYTES
        if area >= self._area:
            return
        head = struct.pack("<QQQQQ", _MAGIC, self._words[_STATE_WORD], area, *used)
        raw = head.ljust(_HEADER, b"\0")
        for number, count in enumerate(used):
            start = _HEADER + number * self._area
            raw += self._map[start : start + count].ljust(area, b"\0")
        smaller = self.path.with_name(f"new-{self.path.name}")
        with suppress(FileNotFoundError):
            smaller.unlink()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(smaller, flags, _MODE), "wb") as file:
            file.write(raw)
        smaller.replace(self.path)

    def close(self) -> None:
        """Leave it to another edge."""
        self._words.release()
        self._map.close()
        os.close(self._descriptor)

    def remove(self) -> None:
        """Delete it."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
        self.close()

    def _turn(self) -> None:
        """Go on in the other area."""
        self._write(_packed(_COUNTS, self._count()), both=_BOTH)

    def _write(self, records: bytes, both: int) -> None:
        """Begin the other area with these, and then go on there."""
        area = 1 - self._words[_STATE_WORD] % 2
        # Who reads it meanwhile reads nothing of that area.
        self._words[_STATE_WORD] = 1 - area
        start = _HEADER + area * self._area
        self._map[start : start + len(records)] = records
        self._words[_USED_WORDS[area]] = len(records)
        self._words[_STATE_WORD] = area | both
        self._go_on(area)

    def _go_on(self, area: int) -> None:
        self._used = _USED_WORDS[area]
        self._start = _HEADER + area * self._area
        self._limit = self._start + self._area
        self._end = self._start + self._words[self._used]

    def _read(self, area: int) -> Iterator["_Record"]:
        at = _HEADER + area * self._area
        end = at + self._words[_USED_WORDS[area]]
        while at < end:
            shard, *lengths = _RECORD.unpack_from(self._map, at)
            at += _RECORD.size
            parts = []
            for length in lengths:
                parts.append(self._map[at : at + length])
                at += length
            yield _Record(shard, *parts)


class _Record(NamedTuple):
    shard: int
    entry: bytes
    event_ids: bytes
    rest: bytes


def _packed(
    shard: int, rest: bytes, entry: bytes = b"", event_ids: bytes = b""
) -> bytes:
    head = _RECORD.pack(shard, len(entry), len(event_ids), len(rest))
    return b"%b%b%b%b" % (head, entry, event_ids, rest)


def _records(
    entries: Iterable[Appended], vanished: Iterable[VanishedEntry]
) -> Iterator[bytes]:
    for one in entries:
        yield _packed(one.shard, one.claims, one.entry, one.event_ids)
    for each in vanished:
        yield _packed(_VANISHED, each.packed)


def _entries(records: Iterable[_Record]) -> Iterator[Appended]:
    for shard, entry, event_ids, rest in records:
        if shard < _VANISHED:
            yield Appended(shard, entry, event_ids, rest)


def _is_ours(descriptor: int, path: Path) -> bool:
    """Whether an edge made it, of this release and of this user, and it is still there."""
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid():
        return False
    head = os.pread(descriptor, 3 * 8, 0)
    magic, _, area = struct.unpack("<QQQ", head) if len(head) == 3 * 8 else (0, 0, 0)
    return (
        magic == _MAGIC
        and facts.st_size == _HEADER + 2 * area
        and os.path.samestat(facts, path.stat())
    )
