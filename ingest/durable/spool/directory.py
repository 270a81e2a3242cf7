"""`<data>/spool`: one store for each edge, including edges that are gone.

A store belongs to the process that holds its lock; the kernel releases the lock however that
process ends.
"""

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from typing_extensions import override
from uuid_utils.compat import uuid7

from ingest.durable.spool.files import Files, OsFiles
from ingest.durable.spool.records import SpoolItem, SpoolTally
from ingest.durable.spool.store import SUFFIX, SpoolDamaged, SpoolStore

_LOCK: Final = "lock"
_PREFIX: Final = "edge-"
_MODE: Final = 0o700
_ATTEMPTS: Final = 5
_PER_READ: Final = 500
#: As much as a group of a few hundred events.
_PROBE_BYTES: Final = 128 * 1024

OS_FILES: Final[Files] = OsFiles()


def spool_of(data: Path) -> Path:
    """The spool of a data directory."""
    return data / "spool"


class _ReadOnlyFiles(OsFiles):
    """The file system, read-only."""

    @override
    def replace(self, path: Path, raw: bytes) -> None:
        pass

    @override
    def move(self, path: Path, to: Path) -> None:
        pass

    @override
    def remove(self, path: Path) -> None:
        pass


class SpoolLock:
    """A store's lock, held until it is released or the process ends."""

    def __init__(self, descriptor: int) -> None:
        """`descriptor` holds the lock."""
        self._descriptor = descriptor

    @classmethod
    def take(cls, folder: Path) -> Self | None:
        """None if another process holds it or removed the store; raises OSError."""
        path = folder / _LOCK
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return cls(descriptor)
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(descriptor)
        return None

    def release(self) -> None:
        os.close(self._descriptor)


@dataclass(frozen=True, slots=True)
class LockedSpool:
    """A store whose lock this process holds."""

    store: SpoolStore
    lock: SpoolLock

    def leave(self) -> None:
        """Release the store; an empty one is deleted."""
        try:
            if self.store.is_empty:
                _clear(self.store.folder)
        finally:
            self.lock.release()


class SpoolDirectory:
    """The stores of one data directory. All methods raise OSError."""

    def __init__(self, root: Path, report: Callable[[SpoolDamaged], None]) -> None:
        """`root` need not exist; `report` is called for damage found while reading."""
        self.root = root
        self._report = report

    def open_own(self) -> LockedSpool:
        """A new store, empty."""
        for _ in range(_ATTEMPTS):
            folder = self.root / f"{_PREFIX}{uuid7().hex}"
            folder.mkdir(mode=_MODE, parents=True)
            OS_FILES.sync(self.root)
            OS_FILES.sync(self.root.parent)
            # Before it is locked, another edge may adopt it.
            if held := self.hold(folder):
                return held
        raise OSError(f"no store could be made in {self.root}")

    def probe(self) -> None:
        """Write and sync a file, and delete it."""
        self.root.mkdir(mode=_MODE, parents=True, exist_ok=True)
        path = self.root / f"probe-{os.getpid()}"
        try:
            OS_FILES.write(path, 0, bytes(_PROBE_BYTES))
        finally:
            OS_FILES.remove(path)

    def adopt(self) -> Iterator[LockedSpool]:
        """Lock the stores whose process is gone, oldest first.

        A store that cannot be read now is left for another time.
        """
        for folder in stores(self.root):
            with suppress(OSError):
                if held := self.hold(folder):
                    yield held

    def hold(self, folder: Path) -> LockedSpool | None:
        """Lock one store; None if it is in use or gone."""
        lock = SpoolLock.take(folder)
        if lock is None:
            return None
        try:
            return LockedSpool(SpoolStore(OS_FILES, folder, self._report), lock)
        except OSError:
            lock.release()
            raise


def stores(root: Path) -> Sequence[Path]:
    """The folders of all stores, oldest first."""
    try:
        names = OS_FILES.names(root)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [root / name for name in sorted(names) if name.startswith(_PREFIX)]


def damaged(root: Path) -> Sequence[Path]:
    """Segments with unreadable bytes, kept after the rest was sent."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return sorted((root / "damaged").glob(f"*{SUFFIX}"))
    return []


def is_in_use(folder: Path) -> bool:
    """Whether a process holds the store's lock."""
    lock = SpoolLock.take(folder)
    if lock is not None:
        lock.release()
    return lock is None and folder.exists()


def contents(folder: Path) -> Iterator[SpoolItem]:
    """Read a store without its lock; raises OSError.

    Segments that are sent meanwhile and incomplete records are skipped.
    """
    store = SpoolStore(_ReadOnlyFiles(), folder, lambda _: None)
    while kept := store.take(_PER_READ):
        yield from (one.item for one in kept)
        store.remove({one.place for one in kept})


def tally(folder: Path) -> SpoolTally:
    """How much is in a store, without its lock; raises OSError. See `SpoolStore.tally`."""
    return SpoolStore(_ReadOnlyFiles(), folder, lambda _: None).tally()


def _clear(folder: Path) -> None:
    for name in OS_FILES.names(folder):
        OS_FILES.remove(folder / name)
    with suppress(OSError):  # somebody looked at the lock: the next one clears it
        folder.rmdir()
