"""Consumer names, which a restarted worker gets again.

A name is a lock on a file in the data directory. The kernel releases it when the process
ends, even by SIGKILL. The next worker takes the name at once, and with it the entries that
are pending under it.
"""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from ingest.contracts.variables import SettingsError
from workers.settings import Settings


@contextmanager
def consumer_name(settings: Settings) -> Iterator[str]:
    """A consumer name that no other worker of this machine has, held until the block ends.

    Raises SettingsError where the data directory cannot be written, or the chosen name is
    taken.
    """
    name, lock = _claim(settings)
    try:
        yield name
    finally:
        os.close(lock)


def _claim(settings: Settings) -> tuple[str, int]:
    directory = settings.data / "worker-slots"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name in _candidates(settings.worker_name):
            lock = _locked(directory / name)
            if lock is not None:
                return name, lock
    except OSError as error:
        raise SettingsError(
            f"cannot write {directory}: {error.strerror}. Give a directory of your own "
            "in REFTIDE_DATA"
        ) from error
    raise SettingsError(
        f"REFTIDE_WORKER_NAME is {settings.worker_name!r}, and another worker on this "
        "machine has that name: give each its own, or unset it"
    )


def _candidates(chosen: str | None) -> Iterator[str]:
    if chosen is not None:
        return iter([chosen])
    host = socket.gethostname()
    return (f"{host}-{slot}" for slot in count(1))


def _locked(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
