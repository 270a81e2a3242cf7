"""Quarantine: entries that cannot be recorded, kept whole with the reason.

They are written to PostgreSQL in the transaction of their batch, so that every acknowledged
entry is accounted for.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from uuid import UUID

import orjson

from ingest.contracts.clickid import NO_LINK
from ingest.contracts.envelope import Envelope
from ingest.contracts.storable import optional_text, text
from ingest.contracts.telemetry import Bounded
from workers.counters.ledger import LedgerDelta, LedgerShard
from workers.model.batch import DATA_REASONS, Entry, RejectedEntry
from workers.postgres.database import (
    Connection,
    Pool,
    array_literal,
    columns,
    execute_in_batches,
)
from workers.postgres.sql import statements
from workers.settings import QUARANTINE_ROWS

_SQL: Final = statements("quarantine/quarantine")

_DETAIL_CHARS: Final = 500
#: The search columns of an entry without an envelope.
_NO_ENVELOPE: Final = (None,) * 7
_RECOUNT_SECONDS: Final = 1.0
_LOG_SECONDS: Final = 60.0
#: Rows in one transaction, to keep its locks short.
_BATCH: Final = 5000


@dataclass(slots=True)
class QuarantineBudget:
    """Limits how much of what clients cause stays in quarantine.

    Any client can send unknown codes. Such an entry is kept with its payload while there is
    room: a number of rows in all, and half of that for one workspace, or for all entries of
    unknown workspaces together. Beyond that it is *dropped*: counted, and listed by its place in
    the stream, so that the ledger stays exact and a replay can record it; only the stream and
    the archive have its payload. Entries with bad data are always kept.

    Every worker counts the rows once a second. `clock` gives monotonic seconds.
    """

    rows: int = QUARANTINE_ROWS
    clock: Callable[[], float] = time.monotonic
    _counts: Counter[UUID | None] = field(default_factory=Counter)
    _counted_at: float = float("-inf")
    _full_log: Bounded = field(init=False)

    def __post_init__(self) -> None:
        self._full_log = Bounded("quarantine.full", self.clock, _LOG_SECONDS)

    async def admit(
        self, connection: Connection, owners: Iterable[UUID | None]
    ) -> list[bool]:
        """Whether there is room for an entry of each of these workspaces, in this order.

        Call `note` with those that were committed.
        """
        if self.clock() >= self._counted_at + _RECOUNT_SECONDS:
            rows = await connection.fetch(_SQL["budget_count"])
            self._counts = Counter({row["workspace_id"]: row["kept"] for row in rows})
            self._counted_at = self.clock()
        kept = self._counts.copy()
        return [self._admit(kept, owner) for owner in owners]

    def note(self, admitted: Counter[UUID | None]) -> None:
        """Count what was committed, by workspace."""
        self._counts.update(admitted)

    def _admit(self, kept: Counter[UUID | None], owner: UUID | None) -> bool:
        if kept.total() >= self.rows or kept[owner] >= (self.rows + 1) // 2:
            self._full_log.warning(
                rows=self.rows, workspace=str(owner) if owner else None
            )
            return False
        kept[owner] += 1
        return True


async def expire(pool: Pool, days: int, who: str, batch: int = _BATCH) -> int:
    """Discard entries that clients caused and that stayed `days` untouched; how many.

    Their rows stay, without payload. 0 days: never. Raises TransientError.
    """
    if not days:
        return 0
    statement, age = _SQL["budget_expire"], timedelta(days=days)
    return await execute_in_batches(pool, statement, batch, age, who)


async def find_held(connection: Connection, entries: Sequence[Entry]) -> set[Entry]:
    """The entries that an earlier delivery put into quarantine."""
    if not entries:
        return set()
    places = map(array_literal, columns(entries))
    found = await connection.fetch(_SQL["quarantine_held"], *places)
    return {Entry(*record) for record in found}


async def add(
    connection: Connection,
    rejections: Sequence[RejectedEntry],
    consumer: str,
    ledger: LedgerDelta,
    budget: QuarantineBudget,
) -> None:
    """Quarantine entries; an entry that is delivered again is counted once.

    What clients caused beyond the budget is dropped: counted, and not kept.
    """
    kept, dropped = await _split(connection, rejections, budget)
    ledger.admitted.update(
        _workspace(rejected) for rejected in kept if rejected.reason not in DATA_REASONS
    )
    if kept:
        values = columns(map(_columns, kept))
        for record in await connection.fetch(_SQL["quarantine_add"], *values, consumer):
            shard = LedgerShard(record["epoch"], record["shard"])
            ledger.quarantined[shard] += record["is_new"]
            ledger.beyond_first[shard] += record["is_new"] and record["entry_index"] > 0
            ledger.reasons[record["reason"]] += record["is_new"]
    if dropped:
        await _drop(connection, dropped, ledger)


async def _split(
    connection: Connection,
    rejections: Sequence[RejectedEntry],
    budget: QuarantineBudget,
) -> tuple[list[RejectedEntry], list[RejectedEntry]]:
    """The entries to keep, and the entries to drop."""
    kept = [each for each in rejections if each.reason in DATA_REASONS]
    caused = [each for each in rejections if each.reason not in DATA_REASONS]
    dropped: list[RejectedEntry] = []
    if caused:
        admitted = await budget.admit(connection, map(_workspace, caused))
        for rejected, is_admitted in zip(caused, admitted, strict=True):
            (kept if is_admitted else dropped).append(rejected)
    return kept, dropped


async def _drop(
    connection: Connection, rejections: Sequence[RejectedEntry], ledger: LedgerDelta
) -> None:
    values = columns(
        (
            *rejected.delivery.entry,
            rejected.envelope.id if rejected.envelope else None,
            rejected.reason,
        )
        for rejected in rejections
    )
    await connection.execute(_SQL["quarantine_alone"], values[1])
    for record in await connection.fetch(_SQL["quarantine_drop"], *values):
        shard = LedgerShard(record["epoch"], record["shard"])
        ledger.quarantined[shard] += record["entries"]
        ledger.beyond_first[shard] += record["beyond_first"]
        ledger.reasons[record["reason"]] += record["entries"]
        ledger.dropped[record["reason"]] += record["entries"]


def _workspace(rejected: RejectedEntry) -> UUID | None:
    """The workspace of an entry, if it is known."""
    stated = rejected.envelope.request.workspace_id if rejected.envelope else None
    return stated or rejected.workspace_id


def _columns(rejected: RejectedEntry) -> tuple[object, ...]:
    envelope = rejected.envelope
    return (
        *rejected.delivery.entry,
        *(
            _NO_ENVELOPE
            if envelope is None
            else search_columns(envelope, _workspace(rejected))
        ),
        rejected.reason,
        text(rejected.detail, _DETAIL_CHARS),
        rejected.delivery.payload,
        orjson.dumps(rejected.waits_for).decode(),
    )


def search_columns(envelope: Envelope, workspace_id: UUID | None) -> tuple[object, ...]:
    """Event, kind, dialect, workspace, namespace, code and link, for operators' filters."""
    namespace = next(iter(envelope.target.namespaces), None)
    return (
        envelope.id,
        envelope.kind,
        text(envelope.request.dialect, _DETAIL_CHARS),
        workspace_id,
        optional_text(namespace, _DETAIL_CHARS),
        optional_text(envelope.target.code, _DETAIL_CHARS),
        None if envelope.target.link_id == NO_LINK else envelope.target.link_id,
    )


#: Topics of `directory_changes` that entries may wait for.
TOPICS: Final = frozenset({"code", "link", "click", "key"})


async def wake(connection: Connection, refs: Iterable[str]) -> None:
    """Note the references that entries in quarantine wait for, in the publisher's transaction.

    Marking the entries, of which there may be very many, is left to the redrive job.
    """
    if named := sorted(set(refs)):
        await connection.execute(_SQL["quarantine_wake"], named)
