"""Files of an archive: private, synced to disk, locked. Blocking; all functions raise OSError."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from workers.archive.segment import OPEN
from workers.model.batch import TransientError


class ArchiveLocked(TransientError):
    """Another process is rewriting the archive: try again later."""


def open_private(path: Path) -> BinaryIO:
    """Create or empty a file that only its owner can read."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o600), "wb")


def write_synced(path: Path, data: bytes) -> None:
    """Write a private file, and sync its content to disk."""
    with open_private(path) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def fsync_directory(directory: Path) -> None:
    """Sync a directory's entries to disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(directory: Path) -> None:
    """Make a private directory that survives a power cut, if it does not exist."""
    if not directory.exists():
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        fsync_directory(directory.parent)


@contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Whether the lock of a file or directory was free; held until the end."""
    descriptor = os.open(path, os.O_RDONLY)
    is_alone = False
    try:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_alone = True
        yield is_alone
    finally:
        os.close(descriptor)


@contextmanager
def segment_lock(directory: Path) -> Iterator[None]:
    """Lock the archive against other rewrites: two with different suppressions would mix."""
    make_directory(directory / OPEN)
    descriptor = os.open(directory / OPEN, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
