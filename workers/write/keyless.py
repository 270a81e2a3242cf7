"""Leads without an API key: which of them count, and which connect a customer with a click.

Anybody may send them who has a click id, and may name any customer. So what an API key says
outranks them, whatever comes first:

- Such a lead counts as long as no other lead names its click that has a key or happened
  before, and its customer has no lead with a key. Otherwise it counts as unverified.
- It connects its customer with its click as long as no event with a key names a click of
  that customer; and not at all where such leads name the click for too many customers.

Both are functions of the rows, in whatever order they come.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Self
from uuid import UUID

from ingest.contracts.envelope import Kind
from workers.counters.counters import CounterDeltas
from workers.model.rows import Row, StoredRow
from workers.postgres.database import Connection
from workers.postgres.sql import statements
from workers.visits.cascade import put_flags

_SQL: Final = statements("write/keyless")
#: A click for which such leads name more customers is shared, not one visitor's.
SHARED_CLICK_CUSTOMERS: Final = 64


@dataclass(frozen=True, slots=True)
class KeylessScope:
    """What a batch may change about leads without an API key."""

    #: The clicks that new and former leads name, and ids that became aliases of others.
    clicks: frozenset[UUID] = frozenset()
    #: Of them, those that lost a lead.
    losing: frozenset[UUID] = frozenset()
    #: The customers of new and former leads with a key.
    customers: frozenset[UUID] = frozenset()
    #: New leads without a key.
    leads: frozenset[UUID] = frozenset()
    #: How many leads go.
    former: int = 0

    @classmethod
    def of(
        cls, leads: Sequence[Row], gone: Sequence[StoredRow], aliases: frozenset[UUID]
    ) -> Self:
        """The scope of new rows that are no clicks, of rows that go, and of aliases."""
        former = [row for row in gone if row.event.kind is Kind.LEAD]
        counting = [row for row in leads if row.event.kind is Kind.LEAD]
        if not (former or counting):
            return cls(clicks=aliases, losing=aliases)
        both: list[StoredRow] = [*counting, *former]
        keyed = (row.customer_id for row in both if not row.rank.is_keyless)
        return cls(
            clicks=_clicks(both) | aliases,
            losing=_clicks(former) | aliases,
            customers=frozenset(customer for customer in keyed if customer),
            leads=frozenset(row.id for row in counting if row.rank.is_keyless),
            former=len(former),
        )


NO_KEYLESS: Final = KeylessScope()


async def mark_shared(
    connection: Connection, scope: KeylessScope, ids: Sequence[UUID]
) -> list[UUID]:
    """Mark and unmark visitors whose clicks are shared; customers that this connects or not.

    `ids` are the customers that are locked, visitors among them.
    """
    if not (scope.leads or scope.losing):
        return []
    asked = ids, sorted(scope.losing), SHARED_CLICK_CUSTOMERS
    found = await connection.fetch(_SQL["clicks_mark_shared"], *asked)
    return [record["customer_id"] for record in found]


async def judge(
    connection: Connection,
    scope: KeylessScope,
    changed: Iterable[UUID],
    deltas: CounterDeltas,
) -> None:
    """Set which leads without a key count, also those of customers that `changed`.

    Needs the locks of all customers concerned.
    """
    customers = scope.customers.union(changed)
    if not (scope.clicks or customers):
        return
    asked = sorted(scope.leads), sorted(scope.clicks), sorted(customers)
    found = await connection.fetch(_SQL["leads_replaced"], *asked)
    flags = {record["id"]: record["is_replaced"] for record in found}
    await put_flags(connection, flags, deltas)


def _clicks(rows: Iterable[StoredRow]) -> frozenset[UUID]:
    return frozenset(row.place.click_id for row in rows if row.place.click_id)
