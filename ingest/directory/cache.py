"""The directory's cache: bounded, and saved on disk between runs."""

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
    """A mapping that evicts the least recently used entry."""

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
        """Store a value; whether another entry was evicted."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        is_crowded = len(self._entries) > self._size
        if is_crowded:
            self._entries.popitem(last=False)
        return is_crowded

    def drop(self, key: str) -> bool:
        """Delete an entry; whether there was one."""
        return self._entries.pop(key, None) is not None

    def clear(self) -> None:
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def items(self) -> list[tuple[str, Value]]:
        return list(self._entries.items())


#: The value of a key: bytes, or None if the key is known to be absent.
Published = bytes | None

_MODE: Final = 0o600
#: A draft this old was left by a crashed edge.
_ABANDONED_SECONDS: Final = 600.0


def snapshot_of(data: Path) -> Path:
    """The snapshot file of a data directory's edges."""
    return data / "edge" / "directory-snapshot"


def write_snapshot(path: Path, entries: Iterable[tuple[str, Published]]) -> None:
    """Replace the file atomically. Edges may share it; the last writer wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A unique name: edges in two containers may have the same process id.
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
    """Delete a snapshot's drafts that killed edges left, older than a time or all.

    They may hold data that is erased elsewhere. A live edge whose draft this deletes soon
    writes another.
    """
    for draft in path.parent.glob(f"{path.name}.*"):
        # Another edge may have deleted it, or own it.
        with suppress(OSError):
            if draft.stat().st_mtime < before:
                draft.unlink()


def read_snapshot(path: Path) -> dict[str, Published]:
    """The entries of a snapshot; none if the file is missing or invalid."""
    try:
        lines = path.read_bytes().splitlines()
        pairs = dict(orjson.loads(line) for line in lines)
    except (OSError, ValueError, TypeError):
        return {}
    return {
        str(key): None if text is None else str(text).encode()
        for key, text in pairs.items()
    }
