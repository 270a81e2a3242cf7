"""Identifies customers, and attributes leads to clicks.

The result depends on the recorded rows only, never on the order in which they arrived. A
batch locks every customer that it may affect. Then it updates what is derived from the rows:
which customer an anonymous one points at, and which click a lead is attributed to.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID, uuid5

from msgspec import structs

from ingest.contracts.directory import DEFAULT_WINDOW_DAYS
from ingest.contracts.envelope import CLICK, Kind
from workers.counters.counters import CounterDeltas
from workers.model.rows import Row, StoredRow
from workers.postgres.database import Connection, Locks, LockSetGrew, columns
from workers.postgres.sql import statements
from workers.refunds import settling as refunds
from workers.write import keyless
from workers.write.keyless import NO_KEYLESS, KeylessScope

_SQL: Final = statements("write/customers") | statements("write/attribution")
#: The columns of a lead's place by the click that earned it.
_EARNED: Final = {
    "earned_link_id": "link_id",
    "earned_program_id": "program_id",
    "earned_partner_id": "partner_id",
}
#: A customer whose events name the clicks of more visitors is a shared id, not one person.
SHARED_CUSTOMER_CLICKS: Final = 64


@dataclass(frozen=True, slots=True)
class LockSet:
    """The customers that a batch may affect, and which of their leads."""

    #: Anonymous customers by their root clicks, identified ones by their ids.
    ids: frozenset[UUID]
    #: Those whose clicks changed. This affects every customer that names one of the clicks.
    roots: frozenset[UUID]
    #: Their leads from this time on may get another attribution; None: all of them.
    since: datetime | None
    #: New clicks. A lead that names one may be attributed to it even if its time is earlier.
    clicks: frozenset[UUID] = frozenset()
    #: New leads, except those of a link itself, which no click can earn.
    leads: frozenset[UUID] = frozenset()
    #: New leads that name a click: that visitor's clicks may earn the customer's other leads.
    naming: Sequence[Row] = ()
    #: Customers that lose events.
    losing: frozenset[UUID] = frozenset()
    #: What new and former leads, and ids that became aliases, say of leads without a key.
    keyless: KeylessScope = NO_KEYLESS


async def identify(
    connection: Connection, rows: Sequence[Row], new_id: Callable[[], UUID]
) -> tuple[list[Row], frozenset[UUID]]:
    """The rows with their customers' ids; customers with a new external id, which are created.

    A lead without an external id belongs to the anonymous customer of its click. Where the
    click is not known to be of the lead's workspace, the lead has an anonymous customer of
    its own.
    """
    known: dict[tuple[UUID, str], UUID] = {}
    created: frozenset[UUID] = frozenset()
    if seen := _first_seen(rows):
        names = columns(seen)
        ids, times = [new_id() for _ in seen], list(seen.values())
        added = await connection.fetch(_SQL["identified_add"], ids, *names, times)
        created = frozenset(row["id"] for row in added)
        found = await connection.fetch(_SQL["identified_ids"], *names)
        known = {(row["workspace_id"], row["external_id"]): row["id"] for row in found}
    return [_with_customer(row, known) for row in rows], created


def lock_set_of(
    rows: Sequence[Row],
    gone: Sequence[StoredRow],
    fresh: frozenset[UUID],
    aliases: frozenset[UUID],
) -> LockSet:
    """The customers that rows affect, those of the rows that they displace (`gone`) included.

    `fresh` are the anonymous customers that were created for these rows. Their clicks affect
    no other customer: no lead can have named them. `aliases` are as in `DedupResult`.
    """
    counted = [row for row in rows if not row.event.is_test]
    known = [row for row in counted if row.root_id not in fresh]
    leads = [row for row in counted if row.event.kind is not CLICK]
    ids = {row.root_id for row in (*known, *leads, *gone)} | aliases
    ids |= {row.customer_id for row in (*leads, *gone)}
    roots = {row.root_id for row in known if row.event.kind is CLICK}
    is_any_time = bool(gone or aliases)
    times = [] if is_any_time else [row.at for row in (*known, *leads)]
    return LockSet(
        ids=_present(ids),
        roots=_present(ids if is_any_time else roots),
        since=min(times, default=None),
        clicks=frozenset(row.id for row in known if row.root_id == row.id),
        leads=frozenset(
            row.id for row in leads if row.place.click_id or row.customer_id
        ),
        naming=[row for row in leads if row.place.click_id and row.customer_id],
        losing=_present(old.customer_id for old in gone),
        keyless=KeylessScope.of(leads, gone, aliases),
    )


async def lock(
    connection: Connection, about: LockSet, wider: frozenset[UUID]
) -> LockSet:
    """Lock all customers concerned, in the order of their ids; the complete set.

    Raises LockSetGrew where rows committed between reading and locking concern more of them.
    """
    ids, _ = await _reach(connection, about)
    locked = ids | wider
    await connection.execute(_SQL["customers_lock"], sorted(locked))
    reached, roots = await _reach(connection, about)
    if not reached <= locked:
        raise LockSetGrew(Locks(customers=reached | locked))
    since = await _since(connection, about)
    return replace(about, ids=reached, roots=roots, since=since)


async def attribute(
    connection: Connection, about: LockSet, deltas: CounterDeltas
) -> Sequence[UUID]:
    """Update what anonymous customers point at and what earned the leads. Needs the locks.

    Returns the customers whose connection with clicks changed: `keyless.judge` has to look at
    their leads.
    """
    ids = sorted(about.ids)
    changed = await _mark(connection, about)
    changed += await keyless.mark_shared(connection, about.keyless, ids)
    await connection.execute(_SQL["customers_point"], ids)
    shared = await connection.fetch(_SQL["customers_shared"], ids)
    leads = await connection.fetch(
        _SQL["leads_attribution"],
        # The leads of a shared id are not related.
        sorted(about.ids - {record["id"] for record in shared}),
        about.since,
        DEFAULT_WINDOW_DAYS,
        sorted(about.clicks),
        changed,
        sorted(about.roots),
        sorted(about.leads),
    )
    if not leads:
        return changed
    before = [StoredRow.of(lead) for lead in leads]
    after = [
        structs.replace(
            row,
            place=structs.replace(
                row.place, **{name: lead[earned] for earned, name in _EARNED.items()}
            ),
        )
        for row, lead in zip(before, leads, strict=True)
    ]
    deltas.take(before)
    deltas.put(after)
    names = ("id", "earned_id", "is_unverified", *_EARNED)
    earned = [[lead[name] for name in names] for lead in leads]
    await connection.execute(_SQL["leads_attribute"], *columns(earned))
    sales = [row.id for row in before if row.event.kind is Kind.SALE]
    await refunds.settle(connection, (), deltas, attributed=sales)
    await refunds.publish_sales(connection, sales)
    return changed


async def reattribute(
    connection: Connection, about: LockSet, deltas: CounterDeltas
) -> None:
    """The same, and set which leads without a key count."""
    connected = await attribute(connection, about, deltas)
    await keyless.judge(connection, about.keyless, connected, deltas)


async def _mark(connection: Connection, about: LockSet) -> list[UUID]:
    """Mark shared ids, and customers whose clicks a key vouches for; those that changed.

    Needs the locks.
    """
    naming = _present(lead.customer_id for lead in about.naming)
    if not naming and not about.losing:
        return []
    asked = sorted(naming | about.losing), sorted(about.losing), SHARED_CUSTOMER_CLICKS
    found = await connection.fetch(_SQL["customers_mark"], *asked)
    return [record["id"] for record in found]


async def _since(connection: Connection, about: LockSet) -> datetime | None:
    """From when on leads may get another attribution. Needs the locks.

    A click that the customer's events name for the first time adds a visitor to the customer.
    All clicks of that visitor may have earned the customer's leads.
    """
    if about.since is None or not about.naming:
        return about.since
    said = [
        (lead.customer_id, lead.place.click_id, lead.id, lead.rank.is_keyless)
        for lead in about.naming
    ]
    found = await connection.fetch(_SQL["newly_named"], *columns(said))
    named = [record["click_id"] for record in found]
    first = await connection.fetchval(_SQL["first_visit"], named) if named else None
    return min(about.since, first or about.since)


async def _reach(
    connection: Connection, about: LockSet
) -> tuple[frozenset[UUID], frozenset[UUID]]:
    """All customers concerned, and those of them whose clicks changed."""
    if not about.ids:
        return frozenset(), frozenset()
    asked = sorted(about.ids), sorted(about.roots), sorted(about.keyless.clicks)
    first = keyless.SHARED_CLICK_CUSTOMERS + 2 + about.keyless.former
    found = await connection.fetch(_SQL["customers_reached"], *asked, first)
    roots = frozenset(record["id"] for record in found if record["is_root"])
    return frozenset(record["id"] for record in found), roots


def _present(ids: Iterable[UUID | None]) -> frozenset[UUID]:
    return frozenset(item for item in ids if item)


def _first_seen(rows: Iterable[Row]) -> dict[tuple[UUID, str], datetime]:
    seen: dict[tuple[UUID, str], datetime] = {}
    for row in rows:
        if row.envelope.customer.external_id is not None and not row.event.is_test:
            key = (row.place.workspace_id, row.envelope.customer.external_id)
            seen[key] = min(row.at, seen.get(key, row.at))
    return seen


def _with_customer(row: Row, known: dict[tuple[UUID, str], UUID]) -> Row:
    if row.event.is_test or row.event.kind is CLICK:
        return row
    place, external_id = row.place, row.envelope.customer.external_id
    if external_id is not None:
        customer_id: UUID | None = known[place.workspace_id, external_id]
    elif place.click_id and not place.is_click_ours:
        customer_id = uuid5(place.click_id, place.workspace_id.hex)
    else:
        customer_id = place.click_id
    return structs.replace(row, customer_id=customer_id)
