"""Finished segments that nobody has reviewed yet: they may name persons erased meanwhile.

A segment is begun under one list of the erased and is open for minutes. That it has to be
looked at again stands beside it before it is there, and until that was done: whoever dies
in between, and whichever server is away. All of it blocks and raises OSError.
"""

from pathlib import Path
from typing import Final

from workers.archive.segment import OPEN
from workers.archive.writer import fsync_directory, open_private

_SUFFIX: Final = ".unreviewed"
#: No key holds it.
_SLASH: Final = "_"


def mark(directory: Path, key: str) -> None:
    """Have a segment reviewed that is about to be there."""
    with open_private(_path(directory, key)):
        pass
    fsync_directory(directory / OPEN)


def marked(directory: Path) -> list[str]:
    """The keys of the segments to be reviewed; some may not be there yet, or never."""
    found = map(marked_key, (directory / OPEN).glob(f"*{_SUFFIX}"))
    return sorted(key for key in found if key)


def marked_key(path: Path) -> str | None:
    """The key that a file marks; None: it is no mark."""
    name = path.name.removesuffix(_SUFFIX)
    return name.replace(_SLASH, "/") if name != path.name else None


def unmark(directory: Path, key: str) -> None:
    """It was reviewed, or is not there any more."""
    _path(directory, key).unlink(missing_ok=True)


def _path(directory: Path, key: str) -> Path:
    return directory / OPEN / f"{key.replace('/', _SLASH)}{_SUFFIX}"
