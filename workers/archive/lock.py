"""One process at a time, over a directory of the archive."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workers.model.batch import TransientError


class ArchiveLocked(TransientError):
    """Somebody else is rewriting the archive: wait for that."""


@contextmanager
def try_lock(directory: Path) -> Iterator[bool]:
    """Whether nobody else is in here, on this directory. Raises OSError."""
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
