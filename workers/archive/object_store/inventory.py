"""Which segments the object store has, as recorded in the archive's directory.

A record file beside a segment's index names the store that holds the segment. The record has
the index file's mtime: once an erasure replaces the index, the record no longer matches and
the segment is uploaded again. A lost record is harmless; the store is asked again. Blocking.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from workers.archive.reader import keys_of_day, load_segment, stored_record
from workers.archive.segment import (
    DATA_SUFFIX,
    Segment,
    SegmentDamaged,
    index_path,
    key_of_file,
)

#: Directory of notes about fetched segments; each file holds a segment's key.
_FETCHED: Final = "fetched"
_DAY_MS: Final = 86_400_000


def index_mtime_ns(directory: Path, key: str) -> int:
    """The mtime of the segment's index, in nanoseconds. Raises OSError."""
    return index_path(directory, key).stat().st_mtime_ns


def is_stored(directory: Path, key: str, store: str | None = None) -> bool:
    """Whether the segment, as it is now, is in that store; None: in any store."""
    record = stored_record(directory, key)
    with suppress(OSError, ValueError):
        if record.stat().st_mtime_ns == index_mtime_ns(directory, key):
            return store is None or record.read_text("utf-8") == f"{store}\n"
    return False


def is_absent(directory: Path, key: str) -> bool:
    """Whether a store has the segment's file and this directory only its index."""
    try:
        data = load_segment(directory, key).data(directory)
    except (SegmentDamaged, OSError):
        return False
    return not data.exists() and is_stored(directory, key)


def note_stored(directory: Path, key: str, store: str, mtime_ns: int) -> None:
    """Record that the store has the segment whose index has this mtime. Raises OSError."""
    record = stored_record(directory, key)
    draft = record.with_name(f"{record.name}.{os.getpid()}")
    draft.write_text(f"{store}\n", "utf-8")
    os.utime(draft, ns=(mtime_ns, mtime_ns))
    draft.replace(record)


def delete_record(directory: Path, key: str) -> None:
    """Delete the record of a segment that no store has. Raises OSError."""
    stored_record(directory, key).unlink(missing_ok=True)


class PendingUploads:
    """The segments to upload; days that are uploaded and unchanged are skipped."""

    def __init__(self, directory: Path, store: str) -> None:
        self._directory = directory
        self._store = store
        self._uploaded_days: dict[str, int] = {}

    def keys(self) -> list[str]:
        """Sorted keys. Raises OSError."""
        found: list[str] = []
        for day in sorted(self._directory.glob("[0-9]*/")):
            # Adding or removing a file changes it.
            changed = day.stat().st_mtime_ns
            if self._uploaded_days.get(day.name) == changed:
                continue
            some = [
                key
                for key in keys_of_day(day)
                if not is_stored(self._directory, key, self._store)
            ]
            if not some:
                self._uploaded_days[day.name] = changed
            found += some
        return found


def delete_stored(directory: Path, store: str, keep_days: int, now_ms: int) -> int:
    """Delete stored files that are older than `keep_days`; the number deleted.

    Their indexes stay, so that they can be found and fetched. `now_ms` is Unix milliseconds.
    Raises OSError.
    """
    least = (now_ms - keep_days * _DAY_MS) / 1000
    gone = 0
    for data in directory.glob(f"[0-9]*/*{DATA_SUFFIX}"):
        with suppress(SegmentDamaged, FileNotFoundError):
            if data.stat().st_mtime >= least:
                continue
            key = key_of_file(data)
            is_current = load_segment(directory, key).data(directory) == data
            if is_current and is_stored(directory, key, store):
                data.unlink()
                gone += 1
    return gone


def note_fetched(directory: Path, segment: Segment) -> None:
    """Note that the segment's file is a cached copy. Raises OSError."""
    (directory / _FETCHED).mkdir(mode=0o700, exist_ok=True)
    _fetched_path(directory, segment.key).write_text(segment.key)


def note_permanent(directory: Path, key: str) -> None:
    """Delete the note of a cached copy: the file stays. Raises OSError."""
    _fetched_path(directory, key).unlink(missing_ok=True)


def evict_fetched(directory: Path, room: int) -> None:
    """Delete fetched files, oldest first, until they take no more than `room` bytes.

    A file that the store does not have as it is now stays. Raises OSError.
    """
    size = 0
    for _, key, note in _fetched_newest_first(directory):
        with suppress(SegmentDamaged, FileNotFoundError):
            segment = load_segment(directory, key)
            size += segment.data(directory).stat().st_size
            if size <= room or not is_stored(directory, key):
                continue
            segment.data(directory).unlink()
        note.unlink(missing_ok=True)


def _fetched_path(directory: Path, key: str) -> Path:
    return directory / _FETCHED / key.replace("/", "_")


def _fetched_newest_first(directory: Path) -> list[tuple[int, str, Path]]:
    """The times, keys and notes of fetched segments."""
    found: list[tuple[int, str, Path]] = []
    for note in (directory / _FETCHED).glob("*"):
        with suppress(FileNotFoundError):
            found.append((note.stat().st_mtime_ns, note.read_text(), note))
    return sorted(found, reverse=True)
