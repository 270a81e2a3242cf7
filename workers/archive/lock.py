"""A lock that lets one process at a time work on a directory of the archive."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workers.model.batch import TransientError


class ArchiveLocked(TransientError):
    """Another process is rewriting the archive: try again later."""


@contextmanager
def try_lock(directory: Path) -> Iterator[bool]:
    """Whether the directory's lock was free; held until the end. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_alone = True
    except BlockingIOError:
        is_alone = False
    try:
        yield is_alone
    finally:
        os.close(descriptor)
