"""The few things that a spool asks of a file system.

All of them raise OSError.
"""

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

_MODE: Final = 0o600
#: What a disk reads, or fails to read, at once.
_BLOCK: Final = 4096


class Files(Protocol):
    """A file system."""

    def names(self, folder: Path) -> list[str]:
        """What is in a folder."""
        ...

    def size(self, path: Path) -> int:
        """How long a file is, in bytes; 0 where there is none."""
        ...

    def read(self, path: Path, start: int, end: int) -> bytes:
        """The bytes of a file from `start`, before `end`; none where there is no file.

        What the disk cannot read any more is zeros.
        """
        ...

    def write(self, path: Path, start: int, raw: bytes) -> None:
        """Put bytes into a file that need not exist; they outlive a power cut."""
        ...

    def truncate(self, path: Path, size: int) -> None:
        """Cut a file off."""
        ...

    def replace(self, path: Path, raw: bytes) -> None:
        """Another content at once; after a power cut it may be the old one, or none."""
        ...

    def move(self, path: Path, to: Path) -> None:
        """Another name, in a folder that is made where there is none.

        A file that is gone is none to move.
        """
        ...

    def remove(self, path: Path) -> None:
        """Forget a file."""
        ...

    def sync(self, folder: Path) -> None:
        """Let the names of a folder's files outlive a power cut."""
        ...


class OsFiles:
    """The machine's own."""

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
