"""What PostgreSQL has of entries: rows, repeats, quarantine."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from workers.model.batch import Entry
from workers.model.rows import DatabaseRecord, entry_of
from workers.postgres.database import Connection, columns
from workers.postgres.sql import statements

_SQL: Final = statements("replay/replays")


@dataclass(slots=True)
class RecordedState:
    """The recorded state of some entries."""

    #: The rows under the entries' events, each whole.
    rows: dict[UUID, DatabaseRecord] = field(default_factory=dict)
    repeats: set[Entry] = field(default_factory=set)
    #: Open entries of quarantine with their payloads, and discarded ones.
    waiting: dict[Entry, bytes] = field(default_factory=dict)
    discarded: set[Entry] = field(default_factory=set)
    #: Redriven entries with the payloads that were recorded.
    redriven: dict[Entry, bytes] = field(default_factory=dict)
    #: Entries counted as quarantined whose payload was not kept.
    dropped: set[Entry] = field(default_factory=set)
    #: The partitions of events before it are detached; Unix milliseconds.
    horizon_ms: int = 0

    def row(self, event_id: UUID, entry: Entry) -> DatabaseRecord | None:
        """The row that was recorded from this entry."""
        row = self.rows.get(event_id)
        return row if row is not None and entry_of(row) == entry else None

    def is_edited(self, entry: Entry, payload: bytes) -> bool:
        """Whether an operator edited the entry before it was redriven."""
        return self.redriven.get(entry, payload) != payload

    def is_accounted(self, event_id: UUID | None, entry: Entry) -> bool:
        """Whether the ledger accounts for the entry."""
        if event_id is not None and self.row(event_id, entry) is not None:
            return True
        return any(
            entry in found
            for found in (self.repeats, self.waiting, self.discarded, self.dropped)
        )


async def look_up(
    connection: Connection, ids: Sequence[UUID], entries: Sequence[Entry]
) -> RecordedState:
    """Look up these events and entries."""
    found = RecordedState(horizon_ms=await connection.fetchval(_SQL["horizon"]) or 0)
    if not entries:
        return found
    places = columns(entries)
    for row in await connection.fetch(_SQL["recorded"], ids):
        found.rows[row["id"]] = row
    for row in await connection.fetch(_SQL["repeated"], *places):
        found.repeats.add(entry_of(row))
    for row in await connection.fetch(_SQL["quarantined"], *places):
        if row["status"] == "open":
            found.waiting[entry_of(row)] = row["payload"]
        elif row["status"] == "discarded":
            found.discarded.add(entry_of(row))
        else:
            found.redriven[entry_of(row)] = row["payload"]
    for row in await connection.fetch(_SQL["dropped"], *places):
        found.dropped.add(entry_of(row))
    return found
