"""The two locks of a data directory; `layout` says why there are two.

flock, because the kernel lets go of it when the last copy of the descriptor is closed,
however its holder ended.
"""

import fcntl
import os
import time
from pathlib import Path

from scripts.embedded.errors import EmbeddedError, explained
from scripts.embedded.layout import DataDirectory
from scripts.embedded.privileges import bequeath

_CONTENDED_S = 0.3
_POLL_S = 0.02


class Lock:
    """An exclusive lock on a file, as long as any copy of its descriptor is open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with explained(f"open the lock {path}"):
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
            self.descriptor = os.open(path, flags, 0o600)
            bequeath(self.descriptor, path.parent)

    def take(self, seconds: float) -> bool:
        """Try for that long; True when it is ours."""
        deadline = time.monotonic() + seconds
        while not self._try():
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def _try(self) -> bool:
        with explained(f"lock {self.path}"):
            try:
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    def release(self) -> None:
        os.close(self.descriptor)


def own(layout: DataDirectory) -> Lock:
    """Become the one owner of the data directory.

    Tries for a moment, since `is_owned` takes the same lock in passing.
    """
    lock = Lock(layout.data / "lock")
    if not lock.take(_CONTENDED_S):
        holder = os.pread(lock.descriptor, 32, 0).decode("ascii", "replace").strip()
        lock.release()
        raise EmbeddedError(
            f"The data directory {layout.data} is in use by process {holder}.",
            f"stop that one (kill {holder}), or name another directory with --data.",
        )
    with explained(f"write {lock.path}"):
        os.ftruncate(lock.descriptor, 0)
        os.pwrite(lock.descriptor, b"%d\n" % os.getpid(), 0)
    return lock


def await_servers(layout: DataDirectory, seconds: float) -> Lock:
    """Wait until no server of an earlier owner runs any more, and keep it so."""
    lock = Lock(layout.data / "servers.lock")
    if lock.take(seconds):
        return lock
    lock.release()
    raise EmbeddedError(
        f"Servers of an earlier run still use {layout.data} after {seconds:.0f} s:"
        " the process that owned them was killed and they are still shutting down.",
        "wait for the processes valkey-server and postgres to end, then start again.",
    )


def is_owned(data: Path) -> bool:
    """Whether a process owns the data directory now."""
    path = data / "lock"
    if not path.exists():
        return False
    lock = Lock(path)
    try:
        return not lock.take(0)
    finally:
        lock.release()
