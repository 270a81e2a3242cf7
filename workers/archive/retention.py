"""Deletes from the archive what is older than the operator wants.

All of it blocks. It may run while others write, read or delete.
"""

from contextlib import suppress
from pathlib import Path
from typing import Final

from workers.archive import review
from workers.archive.reader import segments, stored_record
from workers.archive.segment import INDEX_SUFFIX, OPEN

_DAY_MS: Final = 86_400_000

#: Nobody has written to it for so long: whoever began it is gone.
_ABANDONED_MS: Final = 2 * _DAY_MS


def delete_old(directory: Path, keep_days: int, now_ms: int) -> int:
    """Delete the segments whose last entry arrived more than so many days ago.

    How many went. `now_ms` is Unix milliseconds. Raises OSError.
    """
    least_ms = now_ms - keep_days * _DAY_MS
    gone = 0
    for segment in segments(directory):
        if segment.first.ms >= least_ms:
            break
        if segment.last.ms < least_ms:
            # First: without it there is no segment.
            segment.index(directory).unlink(missing_ok=True)
            segment.data(directory).unlink(missing_ok=True)
            stored_record(directory, segment.key).unlink(missing_ok=True)
            gone += 1
            _remove_empty_day(segment.data(directory).parent)
    return gone


def delete_abandoned(directory: Path, now_ms: int) -> int:
    """Delete what archivers left that died, so many files. Raises OSError.

    What was in them is in a later segment. `now_ms` is Unix milliseconds.
    """
    owed = {
        key
        for key in review.marked(directory)
        if (directory / f"{key}{INDEX_SUFFIX}").exists()
    }
    gone = 0
    for path in (directory / OPEN).glob("*"):
        with suppress(FileNotFoundError):
            is_left = path.stat().st_mtime * 1000 < now_ms - _ABANDONED_MS
            if is_left and review.marked_key(path) not in owed:
                path.unlink()
                gone += 1
    return gone


def _remove_empty_day(day: Path) -> None:
    # It is not empty as long as there is another segment of that day.
    with suppress(OSError):
        day.rmdir()
