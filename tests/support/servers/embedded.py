"""Embedded servers for the length of a block."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from scripts.embedded import Embedded, Options

#: Memory that is a directory, on Linux; containers often have too little of it.
_MEMORY: Final = Path("/dev/shm")  # noqa: S108 -- the directory made there has a random name
_ENOUGH_BYTES: Final = 4 << 30


@contextmanager
def room_in_memory(otherwise: Path) -> Iterator[Path]:
    """An empty directory in memory where there is enough of it, for servers of a whole session.

    A test's database is hundreds of files. On disk, ext4 looks in vain at each inode that was
    freed in the last minute before it gives a new file one, for whoever copies a database.
    """
    if not _MEMORY.is_dir() or shutil.disk_usage(_MEMORY).free < _ENOUGH_BYTES:
        yield otherwise
        return
    with TemporaryDirectory(prefix="reftide-tests-", dir=_MEMORY) as made:
        yield Path(made)


@contextmanager
def running(data: Path, *, durable: bool = True) -> Iterator[Embedded]:
    """`durable=False` skips every fsync: a quicker start."""
    with Embedded(data, Options(durable=durable)) as embedded:
        yield embedded
