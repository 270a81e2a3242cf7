"""Quarantine: entries that cannot be recorded, kept whole with the reason.

They are written to PostgreSQL in the transaction of their batch, so that every acknowledged
entry is accounted for.
"""

from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

import orjson

from ingest.contracts.clickid import NO_LINK
from ingest.contracts.envelope import Envelope
from ingest.contracts.storable import optional_text, text
from workers.counters.ledger import LedgerDelta, LedgerShard
from workers.model.batch import Entry
from workers.model.rejected import DATA_REASONS, RejectedEntry
from workers.postgres.database import Connection, array_literal
from workers.postgres.sql import statements
from workers.quarantine.budget import QuarantineBudget

_SQL: Final = statements("quarantine/quarantine")
_DETAIL_CHARS: Final = 500
#: The search columns of an entry without an envelope.
_NO_ENVELOPE: Final = (None,) * 7


async def find_held(connection: Connection, entries: Sequence[Entry]) -> set[Entry]:
    """The entries that an earlier delivery put into quarantine."""
    if not entries:
        return set()
    columns = [array_literal(part) for part in zip(*entries, strict=True)]
    found = await connection.fetch(_SQL["quarantine_held"], *columns)
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
        columns = [list(column) for column in zip(*map(_columns, kept), strict=True)]
        for record in await connection.fetch(
            _SQL["quarantine_add"], *columns, consumer
        ):
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
    kept = [rejected for rejected in rejections if rejected.reason in DATA_REASONS]
    caused = [
        rejected for rejected in rejections if rejected.reason not in DATA_REASONS
    ]
    dropped: list[RejectedEntry] = []
    if caused:
        admitted = await budget.admit(connection, map(_workspace, caused))
        for rejected, is_admitted in zip(caused, admitted, strict=True):
            (kept if is_admitted else dropped).append(rejected)
    return kept, dropped


async def _drop(
    connection: Connection, rejections: Sequence[RejectedEntry], ledger: LedgerDelta
) -> None:
    rows = [
        (*rejected.delivery.entry, _event_id(rejected), rejected.reason)
        for rejected in rejections
    ]
    columns = [list(column) for column in zip(*rows, strict=True)]
    await connection.execute(_SQL["quarantine_alone"], columns[1])
    for record in await connection.fetch(_SQL["quarantine_drop"], *columns):
        shard = LedgerShard(record["epoch"], record["shard"])
        ledger.quarantined[shard] += record["entries"]
        ledger.beyond_first[shard] += record["beyond_first"]
        ledger.reasons[record["reason"]] += record["entries"]
        ledger.dropped[record["reason"]] += record["entries"]


def _workspace(rejected: RejectedEntry) -> UUID | None:
    """The workspace of an entry, if it is known."""
    stated = rejected.envelope.request.workspace_id if rejected.envelope else None
    return stated or rejected.workspace_id


def _event_id(rejected: RejectedEntry) -> UUID | None:
    return rejected.envelope.id if rejected.envelope else None


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
