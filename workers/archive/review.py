"""Marks on finished segments that may name persons erased while they were written.

A segment stays open for minutes, under the suppressions known when it was begun. Its mark is
on disk before the segment is, and stays until the segment was reviewed, so that neither a
crash nor an outage skips a review. Blocking; all functions raise OSError.
"""

from pathlib import Path
from typing import Final

from workers.archive.files import fsync_directory, open_private
from workers.archive.segment import OPEN

_SUFFIX: Final = ".unreviewed"
#: Replaces the slash of a key; keys contain none.
_SLASH: Final = "_"


def mark(directory: Path, key: str) -> None:
    """Mark a segment that is about to be published."""
    with open_private(_path(directory, key)):
        pass
    fsync_directory(directory / OPEN)


def marked(directory: Path) -> list[str]:
    """The keys of marked segments; some may not exist yet, or never will."""
    found = map(marked_key, (directory / OPEN).glob(f"*{_SUFFIX}"))
    return sorted(key for key in found if key)


def marked_key(path: Path) -> str | None:
    """The key that a file marks; None if the file is not a mark."""
    name = path.name.removesuffix(_SUFFIX)
    return name.replace(_SLASH, "/") if name != path.name else None


def unmark(directory: Path, key: str) -> None:
    """Remove the mark of a segment that was reviewed or deleted."""
    _path(directory, key).unlink(missing_ok=True)


def _path(directory: Path, key: str) -> Path:
    return directory / OPEN / f"{key.replace('/', _SLASH)}{_SUFFIX}"
