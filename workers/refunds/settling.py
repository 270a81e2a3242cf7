"""Refunds: each counts where its sale counts, and takes from it what is left at most.

A refund names its sale by the key of that sale's claim. It is a row from the start, whether the
sale is recorded or not: what it takes back, its link and its partner are set when both are
there, and again whenever the sale changes. They are a function of the rows, in whatever order
these come.
"""

from collections.abc import Collection, Mapping
from typing import Final
from uuid import UUID

from msgspec.structs import replace

from workers.counters.counters import CounterDeltas
from workers.model.rows import DatabaseRecord, StoredRow
from workers.postgres.database import Connection, columns
from workers.postgres.sql import statements

_SQL: Final = statements("refunds/settling")
_PLACE: Final = ("link_id", "program_id", "partner_id")
_WORTH: Final = ("quantity", "amount", "currency")


async def sellers(
    connection: Connection, sales: Mapping[tuple[UUID, bytes], UUID | None]
) -> frozenset[UUID]:
    """The customers to lock, so that nobody attributes these sales meanwhile.

    `sales` are as in `DedupResult`.
    """
    known = [event_id for event_id in sales.values() if event_id]
    if not known:
        return frozenset()
    found = await connection.fetch(_SQL["sellers"], known)
    return frozenset(record["id"] for record in found)


async def settle(
    connection: Connection,
    sales: Collection[tuple[UUID, bytes]],
    deltas: CounterDeltas,
    attributed: Collection[UUID] = (),
) -> None:
    """Set what the refunds of these sales are, by workspace and key or by the sale's event.

    Needs the locks of the sales' customers and claims.
    """
    if not sales and not attributed:
        return
    keys = columns(sorted(sales)) or [[], []]
    found = await connection.fetch(_SQL["refunds_due"], *keys, sorted(attributed))
    if not found:
        return
    deltas.take(StoredRow.of(record) for record in found)
    deltas.put(map(_settled, found))
    names = ("customer_id", *_PLACE, *_WORTH)
    due = [[each["id"], *(each[f"due_{name}"] for name in names)] for each in found]
    await connection.execute(_SQL["refunds_settle"], *columns(due))


async def publish_sales(connection: Connection, events: Collection[UUID]) -> None:
    """Queue these sales for the publisher: edges answer refunds by what they know of them."""
    if events:
        await connection.execute(_SQL["sales_changed"], sorted(events))


def _settled(record: DatabaseRecord) -> StoredRow:
    row = StoredRow.of(record)
    return replace(
        row,
        place=replace(row.place, **{name: record[f"due_{name}"] for name in _PLACE}),
        event=replace(row.event, **{name: record[f"due_{name}"] for name in _WORTH}),
        customer_id=record["due_customer_id"],
    )
