"""Quarantine: entries that cannot be recorded, kept whole with the reason.

They are written to PostgreSQL in the transaction of their batch, so that every acknowledged
entry is accounted for.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

import orjson

from ingest.contracts.clickid import NO_LINK
from ingest.contracts.envelope import Envelope
from ingest.contracts.storable import optional_text, text
from workers.counters.ledger import LedgerDelta, LedgerShard
from workers.model.batch import DATA_REASONS, NAMED_CHARS, Entry, RejectedEntry
from workers.postgres.database import (
    Connection,
    Pool,
    array_literal,
    columns,
    execute_in_batches,
)
from workers.postgres.sql import statements
from workers.quarantine.budget import QuarantineBudget

_SQL: Final = statements("quarantine/quarantine")

_DETAIL_CHARS: Final = 500
#: The search columns of an entry without an envelope.
_NO_ENVELOPE: Final = (None,) * 7
#: Rows in one transaction, to keep its locks short.
_BATCH: Final = 5000


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
        rejected.holder for rejected in kept if rejected.reason not in DATA_REASONS
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
        admitted = await budget.admit(connection, [each.holder for each in caused])
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


def _columns(rejected: RejectedEntry) -> tuple[object, ...]:
    envelope = rejected.envelope
    return (
        *rejected.delivery.entry,
        *(
            _NO_ENVELOPE
            if envelope is None
            else search_columns(envelope, rejected.holder.workspace_id)
        ),
        rejected.reason,
        text(rejected.detail, _DETAIL_CHARS),
        rejected.delivery.payload,
        orjson.dumps(rejected.waits_for).decode(),
        rejected.holder.sender,
    )


def search_columns(envelope: Envelope, workspace_id: UUID | None) -> tuple[object, ...]:
    """Event, kind, dialect, workspace, namespace, code and link, for operators' filters."""
    namespace = next(iter(envelope.target.namespaces), None)
    return (
        envelope.id,
        envelope.kind,
        text(envelope.request.dialect, _DETAIL_CHARS),
        workspace_id,
        optional_text(namespace, NAMED_CHARS),
        optional_text(envelope.target.code, NAMED_CHARS),
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
