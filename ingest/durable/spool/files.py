"""The file system's operations that a spool uses. All raise OSError."""

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

_MODE: Final = 0o600
#: Bytes that a disk reads, or fails to read, at once.
_BLOCK: Final = 4096


class Files(Protocol):
    """A file system."""

    def names(self, folder: Path) -> list[str]:
        """The names of a folder's files."""
        ...

    def size(self, path: Path) -> int:
        """A file's bytes; 0 if there is no file."""
        ...

    def read(self, path: Path, start: int, end: int) -> bytes:
        """A file's bytes from `start` until before `end`; none if there is no file.

        Unreadable blocks are returned as zeros.
        """
        ...

    def write(self, path: Path, start: int, raw: bytes) -> None:
        """Write bytes at `start` of a file, new or not, and sync them."""
        ...

    def truncate(self, path: Path, size: int) -> None:
        """Truncate a file."""
        ...

    def replace(self, path: Path, raw: bytes) -> None:
        """Replace a file atomically; unsynced: a power cut may bring back the old content."""
        ...

    def move(self, path: Path, to: Path) -> None:
        """Move a file, into a folder that is created if necessary.

        Does nothing if the file is gone.
        """
        ...

    def remove(self, path: Path) -> None:
        """Delete a file."""
        ...

    def sync(self, folder: Path) -> None:
        """Sync a folder's entries to disk."""
        ...


class OsFiles:
    """The operating system's files."""

    def names(self, folder: Path) -> list[str]:
        return [path.name for path in folder.iterdir()]

    def size(self, path: Path) -> int:
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return 0

    def read(self, path: Path, start: int, end: int) -> bytes:
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return b""
        try:
            return _read(descriptor, start, end)
        finally:
            os.close(descriptor)

    def write(self, path: Path, start: int, raw: bytes) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, _MODE)
        try:
            rest = memoryview(raw)
            while rest:
                written = os.pwrite(descriptor, rest, start)
                start, rest = start + written, rest[written:]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def truncate(self, path: Path, size: int) -> None:
        os.truncate(path, size)

    def replace(self, path: Path, raw: bytes) -> None:
        draft = path.with_name(f"{path.name}.draft")
        draft.write_bytes(raw)
        draft.replace(path)

    def move(self, path: Path, to: Path) -> None:
        to.parent.mkdir(mode=0o700, exist_ok=True)
        with suppress(FileNotFoundError):
            path.rename(to)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def sync(self, folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _read(descriptor: int, start: int, end: int) -> bytes:
    try:
        return os.pread(descriptor, end - start, start)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
    return b"".join(
        _block(descriptor, at, min(at + _BLOCK, end))
        for at in range(start, end, _BLOCK)
    )


def _block(descriptor: int, start: int, end: int) -> bytes:
    try:
        return os.pread(descriptor, end - start, start)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return bytes(end - start)
