"""Lets the sessions of a process give way to others.

Linux may share cores among sessions first, and among the processes of a session then: of a nice
process, the session has to be nice as well (`autogroup` in sched(7)). PostgreSQL opens one for
each connection.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
#: Only root may set it more than ten times a second.
_TRIES: Final = 3
_PAUSE_SECONDS: Final = 0.1


def give_way(pid: int, niceness: int) -> None:
    """Make sessions of a process and of its children as nice, where Linux has such."""
    for each in (pid, *_children(pid)):
        # Niceness counts among all processes, or this one has ended.
        with suppress(OSError):
            _set(_PROC / str(each) / "autogroup", niceness)


def _children(pid: int) -> Sequence[int]:
    try:
        return [
            int(child)
            for file in _PROC.glob(f"{pid}/task/*/children")
            for child in file.read_text("ascii").split()
        ]
    except OSError:
        return []


def _set(file: Path, niceness: int) -> None:
    """Give up, until the next time, where others set theirs all the time. Raises OSError."""
    if file.read_text("ascii").endswith(f" nice {niceness}\n"):
        return
    for _ in range(_TRIES):
        with suppress(BlockingIOError):
            file.write_text(str(niceness), "ascii")
            return
        time.sleep(_PAUSE_SECONDS)
