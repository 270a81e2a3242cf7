"""What processes use: processor time and memory, of a whole tree.

From /proc, so on Linux only (proc(5)). Memory that processes share is dealt out among them
(the proportional set size), or Postgres would seem to use its buffers once a session.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from scripts.errors import Unreachable

_PROC: Final = Path("/proc")
#: Fields of /proc/PID/stat after the name, which ends in the last parenthesis.
_PARENT: Final = 1
_TIMES: Final = slice(11, 15)
_KIB: Final = 1024


def require() -> None:
    """Raises Unreachable where there is no /proc to read."""
    if sys.platform != "linux":
        raise Unreachable(
            "What processes use is read from /proc, which this system has not.",
            "measure the cost on Linux.",
        )


def tree(roots: Iterable[int]) -> list[int]:
    """These processes and all that descend from them."""
    parents: dict[int, list[int]] = {}
    for folder in _PROC.glob("[0-9]*"):
        pid = int(folder.name)
        with suppress(OSError):
            parents.setdefault(int(_stat(pid)[_PARENT]), []).append(pid)
    return list(_descend(roots, parents))


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time so far, that of their ended children included."""
    ticks = 0
    for pid in pids:
        with suppress(OSError):
            ticks += sum(map(int, _stat(pid)[_TIMES]))
    return ticks / os.sysconf("SC_CLK_TCK")


def memory(pids: Iterable[int]) -> int:
    """Bytes, those that are shared dealt out among who shares them."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            total += _proportional(pid)
    return total


def _descend(roots: Iterable[int], parents: dict[int, list[int]]) -> Iterator[int]:
    for pid in roots:
        yield pid
        yield from _descend(parents.get(pid, ()), parents)


def _stat(pid: int) -> list[str]:
    text = (_PROC / str(pid) / "stat").read_text("ascii", "replace")
    return text.rpartition(")")[2].split()


def _proportional(pid: int) -> int:
    for line in (_PROC / str(pid) / "smaps_rollup").read_text("ascii").splitlines():
        name, _, rest = line.partition(":")
        if name == "Pss":
            return int(rest.split()[0]) * _KIB
    return 0
