"""Customers: who they are, what is known of them, and which click earned a lead.

Imported by `write`. Everything in here follows from recorded rows, never from the order in
which they came: a batch locks every customer it may concern, then brings what is derived
(who an anonymous customer is, what a lead is attributed to) in line with the rows.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID, uuid5

from msgspec import structs

from ingest.contracts.directory import DEFAULT_WINDOW_DAYS
from ingest.contracts.envelope import CLICK
from workers.counters.counters import CounterDeltas
from workers.model.rows import DatabaseRecord, Place, Row, StoredRow
from workers.postgres.database import Connection
from workers.postgres.sql import statements

_SQL: Final = statements("write/customers")


#: A customer whose events name the clicks of more visitors is no person.
SHARED_CUSTOMER_CLICKS: Final = 64


class LockSetGrew(Exception):
    """Rows committed meanwhile concern more customers: begin again, locking these too."""

    def __init__(self, ids: frozenset[UUID]) -> None:
        """`ids` are customers to lock from the start."""
        super().__init__(len(ids))
        self.ids = ids


@dataclass(frozen=True, slots=True)
class LockSet:
    """Whom a batch may concern beyond rows that it alone can know of."""

    #: Customers: anonymous ones by their root clicks, identified ones by their ids.
    ids: frozenset[UUID]
    #: Those of them whose clicks changed: of concern to everybody who names one.
    roots: frozenset[UUID]
    #: Leads of theirs from this time on may be attributed anew; None: all of them.
    since: datetime | None
    #: Clicks that came. Who names one is its lead even if clocks say that it came later.
    clicks: frozenset[UUID] = frozenset()
    #: Leads that came, but for those of a link itself, which nobody else earns.
    leads: frozenset[UUID] = frozenset()
    #: Leads that name clicks: what such a visitor did may have earned other leads of theirs.
    namers: Sequence[Row] = ()
    #: Customers who lose events.
    losers: frozenset[UUID] = frozenset()


async def identify(
    connection: Connection, rows: Sequence[Row], new_id: Callable[[], UUID]
) -> list[Row]:
    """The rows with their customers' ids; customers never seen before are created.

    A lead without an external id is its root click's anonymous customer's. Where nothing
    shows that the click is its workspace's, it has an anonymous customer of its own.
    """
    known: dict[tuple[UUID, str], UUID] = {}
    if seen := _first_seen(rows):
        keys = list(seen)
        columns = [[key[0] for key in keys], [key[1] for key in keys]]
        await connection.execute(
            _SQL["identified_add"],
            [new_id() for _ in keys],
            *columns,
            [seen[key] for key in keys],
        )
        found = await connection.fetch(_SQL["identified_ids"], *columns)
        known = {(row["workspace_id"], row["external_id"]): row["id"] for row in found}
    return [_with_customer(row, known) for row in rows]


def lock_set_of(
    rows: Sequence[Row],
    gone: Sequence[StoredRow],
    fresh: frozenset[UUID],
    aliases: frozenset[UUID],
) -> LockSet:
    """Whom rows concern, given the rows they displace and the customers they introduced.

    A click whose anonymous customer is new concerns nobody: no lead can have named it.
    """
    people = [row for row in rows if not row.event.is_test]
    known = [row for row in people if row.root_id not in fresh]
    leads = [row for row in people if row.event.kind is not CLICK]
    ids = {row.root_id for row in (*known, *leads, *gone)} | aliases
    ids |= {row.customer_id for row in (*leads, *gone)}
    roots = {row.root_id for row in known if row.event.kind is CLICK}
    is_long_past = bool(gone or aliases)
    late = [] if is_long_past else [row.at for row in (*known, *leads)]
    return LockSet(
        ids=_there(ids),
        roots=_there(ids if is_long_past else roots),
        since=min(late, default=None),
        clicks=frozenset(row.id for row in known if row.root_id == row.id),
        leads=frozenset(
            row.id for row in leads if row.place.click_id or row.customer_id
        ),
        namers=[row for row in leads if row.place.click_id and row.customer_id],
        losers=_there(old.customer_id for old in gone),
    )


async def lock(
    connection: Connection, about: LockSet, wider: frozenset[UUID]
) -> LockSet:
    """Lock everybody concerned, in the order of ids, and know that it is everybody.

    Raises LockSetGrew where rows committed between reading and locking concern more.
    """
    ids, _ = await _reach(connection, about)
    locked = ids | wider
    await connection.execute(_SQL["customers_lock"], sorted(locked))
    reached, roots = await _reach(connection, about)
    if not reached <= locked:
        raise LockSetGrew(reached | locked)
    since = await _since(connection, about)
    return replace(about, ids=reached, roots=roots, since=since)


async def attribute(
    connection: Connection, about: LockSet, deltas: CounterDeltas
) -> None:
    """Bring anonymous customers and leads in line with the rows. Needs the locks."""
    people = sorted(about.ids)
    await connection.execute(_SQL["customers_point"], people)
    changed = await _judge_crowds(connection, about)
    crowds = await connection.fetch(_SQL["customers_crowds"], people)
    leads = await connection.fetch(
        _SQL["leads_attribution"],
        # A crowd's leads have nothing to do with one another.
        sorted(about.ids - {record["id"] for record in crowds}),
        about.since,
        DEFAULT_WINDOW_DAYS,
        sorted(about.clicks),
        changed,
        sorted(about.roots),
        sorted(about.leads),
    )
    if not leads:
        return
    before = [StoredRow.of(lead) for lead in leads]
    after = [
        structs.replace(row, place=_earned_place(row, lead))
        for row, lead in zip(before, leads, strict=True)
    ]
    deltas.take(before)
    deltas.put(after)
    await connection.execute(
        _SQL["leads_attribute"],
        [lead.id for lead in after],
        [lead["earned_id"] for lead in leads],
        [lead.place.link_id for lead in after],
        [lead.place.program_id for lead in after],
        [lead.place.partner_id for lead in after],
    )


def _earned_place(row: StoredRow, lead: DatabaseRecord) -> Place:
    """Where the lead belongs by the click that earned it."""
    return structs.replace(
        row.place,
        link_id=lead["earned_link_id"],
        program_id=lead["earned_program_id"],
        partner_id=lead["earned_partner_id"],
    )


async def _judge_crowds(connection: Connection, about: LockSet) -> list[UUID]:
    """Customers who turned out to be a crowd, or to be none. Needs the locks."""
    namers = _there(lead.customer_id for lead in about.namers)
    if not namers and not about.losers:
        return []
    asked = sorted(namers | about.losers), sorted(about.losers), SHARED_CUSTOMER_CLICKS
    found = await connection.fetch(_SQL["customers_crowd"], *asked)
    return [record["id"] for record in found]


async def _since(connection: Connection, about: LockSet) -> datetime | None:
    """From when on leads may be attributed anew. Needs the locks.

    To a customer a click that none of his events named before is a visitor who turns out to
    be him: all that this one did may have earned his leads.
    """
    if about.since is None or not about.namers:
        return about.since
    columns = zip(
        *((lead.customer_id, lead.place.click_id, lead.id) for lead in about.namers),
        strict=True,
    )
    found = await connection.fetch(
        _SQL["named_anew"], *(list(each) for each in columns)
    )
    anew = [record["click_id"] for record in found]
    began = await connection.fetchval(_SQL["visits_began"], anew) if anew else None
    return min(about.since, began or about.since)


async def _reach(
    connection: Connection, about: LockSet
) -> tuple[frozenset[UUID], frozenset[UUID]]:
    """Everybody concerned, and those of them whose clicks changed."""
    asked = sorted(about.ids), sorted(about.roots)
    found = await connection.fetch(_SQL["customers_reached"], *asked)
    roots = frozenset(record["id"] for record in found if record["is_root"])
    return frozenset(record["id"] for record in found), roots


def _there(ids: Iterable[UUID | None]) -> frozenset[UUID]:
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
    if (
        row.envelope.customer.external_id is None
        and row.place.click_id
        and not row.place.is_click_ours
    ):
        stand_in = uuid5(row.place.click_id, row.place.workspace_id.hex)
        return structs.replace(row, customer_id=stand_in)
    if row.envelope.customer.external_id is None:
        return structs.replace(row, customer_id=row.place.click_id)
    return structs.replace(
        row,
        customer_id=known[row.place.workspace_id, row.envelope.customer.external_id],
    )
