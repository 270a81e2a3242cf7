"""What the client knows: every request before it is sent, every answer when it came.

Written by `client`, read by `judge`. One JSON document a line, synced in groups; whoever
awaits a write goes on when the line is on the disk.
"""

import asyncio
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID

import orjson

from ingest.redis_io.client import Coalescer

_PENDING: Final = 1_000_000
_PER_SYNC: Final = 5_000
_SUCCESS: Final = range(200, 300)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that is about to be sent. `mark` is the event's; repeats share it."""

    mark: str
    kind: str
    attempt: int

    def line(self) -> Mapping[str, Any]:
        return {"asked": self.mark, "kind": self.kind, "attempt": self.attempt}


@dataclass(frozen=True, slots=True)
class Answered:
    """What came back. `event_id` is the click's, where the answer says it."""

    mark: str
    attempt: int
    status: int
    event_id: UUID | None = None

    def line(self) -> Mapping[str, Any]:
        told = {"answered": self.mark, "attempt": self.attempt, "status": self.status}
        return told if self.event_id is None else {**told, "event_id": self.event_id}


@dataclass(slots=True)
class History:
    """All that the client knows of one event."""

    mark: str
    kind: str
    asked: int = 0
    #: How often it was told yes, and no.
    accepted: int = 0
    refused: int = 0
    event_ids: set[UUID] = field(default_factory=set)

    @property
    def unanswered(self) -> int:
        return self.asked - self.accepted - self.refused


class Journal:
    """A file that only grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: Coalescer[bytes, None]
        self._lines = Coalescer(
            self._sync, in_flight=1, per_flush=_PER_SYNC, pending=_PENDING
        )

    async def write(self, entry: Asked | Answered) -> None:
        """Return when it is on the disk."""
        await self._lines.ask(orjson.dumps(entry.line()) + b"\n")

    async def _sync(self, lines: Sequence[bytes]) -> Sequence[None]:
        await asyncio.to_thread(self._append, b"".join(lines))
        return [None] * len(lines)

    def _append(self, text: bytes) -> None:
        self._file.write(text)
        os.fsync(self._file.fileno())

    async def __aenter__(self) -> Self:
        self._file = self._path.open("ab", buffering=0)
        self._lines.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._lines.stop()
        self._file.close()


def read(lines: Iterable[bytes]) -> dict[str, History]:
    """The histories of a journal by their marks. A line that was not finished is no line."""
    histories: dict[str, History] = {}
    for entry in _entries(lines):
        if "asked" in entry:
            history = histories.setdefault(
                entry["asked"], History(entry["asked"], entry["kind"])
            )
            history.asked += 1
            continue
        history = histories[entry["answered"]]
        if entry["status"] not in _SUCCESS:
            history.refused += 1
            continue
        history.accepted += 1
        if "event_id" in entry:
            history.event_ids.add(UUID(entry["event_id"]))
    return histories


def _entries(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        if line.endswith(b"\n"):
            yield orjson.loads(line)
