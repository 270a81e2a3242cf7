"""Deletes old segments of the archive, and files that crashed archivers left.

Blocking. Safe beside processes that write, read or delete.
"""

from contextlib import suppress
from pathlib import Path
from typing import Final

from workers.archive.contents import contents_path
from workers.archive.reader import segments, stored_record
from workers.archive.rewrite import marked, marked_key
from workers.archive.segment import OPEN, index_path

_DAY_MS: Final = 86_400_000

#: An unfinished file that was not written for so long has no writer any more.
_ABANDONED_MS: Final = 2 * _DAY_MS


def delete_old(directory: Path, keep_days: int, now_ms: int) -> int:
    """Delete segments whose last entry is older than `keep_days`; the number deleted.

    `now_ms` is Unix milliseconds. Raises OSError.
    """
    least_ms = now_ms - keep_days * _DAY_MS
    gone = 0
    for segment in segments(directory):
        if segment.first.ms >= least_ms:
            break
        if segment.last.ms < least_ms:
            # The index first: without it the segment does not exist.
            segment.index(directory).unlink(missing_ok=True)
            segment.data(directory).unlink(missing_ok=True)
            stored_record(directory, segment.key).unlink(missing_ok=True)
            contents_path(directory, segment.key).unlink(missing_ok=True)
            gone += 1
            with suppress(OSError):  # the day still has segments
                segment.data(directory).parent.rmdir()
    return gone


def delete_abandoned(directory: Path, now_ms: int) -> int:
    """Delete unfinished files of crashed archivers; the number deleted. Raises OSError.

    Their entries are in later segments. `now_ms` is Unix milliseconds.
    """
    owed = {key for key in marked(directory) if index_path(directory, key).exists()}
    gone = 0
    for path in (directory / OPEN).glob("*"):
        with suppress(FileNotFoundError):
            is_left = path.stat().st_mtime * 1000 < now_ms - _ABANDONED_MS
            if is_left and marked_key(path) not in owed:
                path.unlink()
                gone += 1
    return gone
