"""What processes use: processor time and memory, of a whole tree.

From /proc, so on Linux only (proc(5)). Memory that processes share is dealt out among them
(the proportional set size), or Postgres would seem to use its buffers once a session.
"""

import os
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from scripts.errors import Unreachable

_PROC: Final = Path("/proc")
#: Fields of /proc/PID/stat after the name, which ends in the last parenthesis.
_PARENT: Final = 1
_TIMES: Final = slice(11, 15)
_KIB: Final = 1024
_PSS: Final = re.compile(r"^Pss: +(\d+)", re.MULTILINE)


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
        with suppress(OSError):
            parent = int(_stat(int(folder.name))[_PARENT])
            parents.setdefault(parent, []).append(int(folder.name))
    found = list(roots)
    for pid in found:  # it grows meanwhile
        found += parents.get(pid, ())
    return found


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
            text = (_PROC / str(pid) / "smaps_rollup").read_text("ascii")
            total += sum(int(size) * _KIB for size in _PSS.findall(text))
    return total


def _stat(pid: int) -> list[str]:
    text = (_PROC / str(pid) / "stat").read_text("ascii", "replace")
    return text.rpartition(")")[2].split()
