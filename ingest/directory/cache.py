"""The directory's memory: bounded, and kept on disk between runs."""

import os
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, Generic, TypeVar
from uuid import uuid4

import orjson

Value = TypeVar("Value")


class Lru(Generic[Value]):
    """A mapping that forgets what was used longest ago."""

    def __init__(self, size: int) -> None:
        """Hold at most `size` entries."""
        self._size = size
        self._entries: OrderedDict[str, Value] = OrderedDict()

    def get(self, key: str) -> Value | None:
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    def put(self, key: str, value: Value) -> bool:
        """Whether another entry had to make room."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        is_crowded = len(self._entries) > self._size
        if is_crowded:
            self._entries.popitem(last=False)
        return is_crowded

    def drop(self, key: str) -> bool:
        """Whether there was something to forget."""
        return self._entries.pop(key, None) is not None

    def clear(self) -> None:
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)

    def items(self) -> list[tuple[str, Value]]:
        return list(self._entries.items())


#: What was published under a key: bytes, or None where the key is known to be absent.
Published = bytes | None

_MODE: Final = 0o600
#: Of an edge that lives no draft takes so long.
_ABANDONED_SECONDS: Final = 600.0


def snapshot_of(data: Path) -> Path:
    """Where the edges of a data directory keep what they knew."""
    return data / "edge" / "directory-snapshot"


def write_snapshot(path: Path, entries: Iterable[tuple[str, Published]]) -> None:
    """Replace the file at once: readers see the old one or the new one, whole.

    Several edges may share the file; the last one wins, and any of them is good.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Edges in two containers may have one number of a process.
    draft = path.with_name(f"{path.name}.{uuid4().hex}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for key, raw in entries:
                text = None if raw is None else raw.decode("utf-8", "replace")
                file.write(orjson.dumps([key, text], option=orjson.OPT_APPEND_NEWLINE))
        drop_drafts(path, draft.stat().st_mtime - _ABANDONED_SECONDS)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def drop_drafts(path: Path, before: float = float("inf")) -> None:
    """Those of a snapshot that edges left who were killed over them, before a time or all.

    They hold what is erased elsewhere. An edge that is at one writes another soon.
    """
    for draft in path.parent.glob(f"{path.name}.*"):
        # Another edge may have dropped it, or it may be for that one only to drop.
        with suppress(OSError):
            if draft.stat().st_mtime < before:
                draft.unlink()


def read_snapshot(path: Path) -> dict[str, Published]:
    """What an earlier run knew; nothing where there is no file, or none of ours."""
    try:
        lines = path.read_bytes().splitlines()
        pairs = dict(orjson.loads(line) for line in lines)
    except (OSError, ValueError, TypeError):
        return {}
    return {
        str(key): None if text is None else str(text).encode()
        for key, text in pairs.items()
    }
