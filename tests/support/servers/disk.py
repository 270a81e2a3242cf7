"""A disk that can be full, lose its power, and forget: the port of the spool, in memory.

What was written and not synced is there until the power goes; then any part of it may be.
"""

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


class PowerCut(BaseException):
    """The process is gone in the middle of something."""


@dataclass
class _File:
    now: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    #: Whether its name outlives a power cut.
    is_named: bool = False


class Disk:
    """Every step of every call may be the last one: `trouble` is asked before each.

    It may raise, and where bytes are written, it says how many of them are.
    """

    def __init__(self) -> None:
        self.files: dict[Path, _File] = {}
        self.removed: dict[Path, _File] = {}
        self.trouble: Callable[[int], int] = lambda count: count

    def names(self, folder: Path) -> list[str]:
        return [path.name for path in self.files if path.parent == folder]

    def size(self, path: Path) -> int:
        return len(self.files[path].now) if path in self.files else 0

    def read(self, path: Path, start: int, end: int) -> bytes:
        self.trouble(0)
        return bytes(self.files[path].now[start:end]) if path in self.files else b""

    def write(self, path: Path, start: int, raw: bytes) -> None:
        self.trouble(0)
        file = self.files.setdefault(path, _File())
        written = self.trouble(len(raw))
        file.now[start : start + written] = raw[:written]
        if written < len(raw):
            raise OSError(errno.ENOSPC, "No space left on device")
        self.trouble(0)
        file.synced = bytes(file.now)

    def truncate(self, path: Path, size: int) -> None:
        self.trouble(0)
        del self.files[path].now[size:]

    def replace(self, path: Path, raw: bytes) -> None:
        self.trouble(0)
        self.files[path] = _File(bytearray(raw), b"", is_named=True)

    def move(self, path: Path, to: Path) -> None:
        self.trouble(0)
        if path in self.files:
            self.files[to] = self.files.pop(path)

    def remove(self, path: Path) -> None:
        self.trouble(0)
        if path in self.files:
            self.removed[path] = self.files.pop(path)

    def sync(self, folder: Path) -> None:
        self.trouble(0)
        for path, file in self.files.items():
            file.is_named |= path.parent == folder
        self.removed = {
            path: file for path, file in self.removed.items() if path.parent != folder
        }

    def lose_power(self, part: float) -> None:
        """Keep what was synced, and so much of the rest; unsynced names go."""
        for path, file in [*self.files.items(), *self.removed.items()]:
            if not file.is_named:
                self.files.pop(path, None)
                continue
            base = len(file.synced)
            kept = base + round(part * max(0, len(file.now) - base))
            whole = bytes(file.now) if len(file.now) >= base else file.synced
            self.files[path] = _File(
                bytearray(whole[:kept]), whole[:kept], is_named=True
            )
        self.removed = {}
