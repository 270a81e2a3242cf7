"""Plain leads: leads and sales with an API key that change the attribution of no other event.

Most are: a sign-up, which is the first event of its customer and the first to name its click;
and events of a customer that name no click, as most sales. They need the lock of one customer,
and are inserted with the click that earned them. All others are inserted first, and attributed
with everything that they may change.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Final
from uuid import UUID

from msgspec.structs import replace

from ingest.contracts.directory import DEFAULT_WINDOW_DAYS
from ingest.contracts.envelope import Kind
from workers.model.rows import DatabaseRecord, Row
from workers.postgres.database import Connection, Locks, LockSetGrew, columns
from workers.postgres.sql import statements
from workers.write.dedup import DedupResult

_SQL: Final = statements("write/plain_leads") | statements("write/attribution")
_KINDS: Final = frozenset({Kind.LEAD, Kind.SALE})
#: The columns of a row that its attribution sets.
_EARNED: Final = ("link_id", "program_id", "partner_id")


async def find(
    connection: Connection,
    rows: Sequence[Row],
    claims: DedupResult,
    created: Collection[UUID],
    excluded: Collection[UUID],
) -> list[Row]:
    """The plain leads among the rows of a batch, of which `claims` has the contenders.

    `created` are customers whom no other transaction can know yet, `excluded` leads that
    turned out not to be plain.
    """
    times = Counter(row.id for row in rows)
    moved = frozenset(claims.displaced.values()).union(excluded)
    leads = [
        row
        for row in claims.contenders
        if _is_possible(row) and times[row.id] == 1 and row.id not in moved
    ]
    if not leads:
        return []
    signups = await _signups(connection, rows, leads, created)
    named = {row.customer_id for row in rows if row.place.click_id}
    return [
        row
        for row in leads
        if (row.id in signups if row.place.click_id else row.customer_id not in named)
    ]


async def require(
    connection: Connection, leads: Sequence[Row], others: frozenset[UUID]
) -> None:
    """Check sign-ups once more, under the locks; none may concern the customers of `others`.

    Raises LockSetGrew.
    """
    signups = [row for row in leads if row.place.click_id]
    unnamed = await _unnamed(connection, signups) - others
    if other := {row.id for row in signups if row.place.click_id not in unnamed}:
        raise LockSetGrew(Locks(leads=frozenset(other)))


async def attributed(connection: Connection, leads: Sequence[Row]) -> list[Row]:
    """The leads with the clicks that earn them. Needs the locks."""
    said = [
        (
            row.id,
            row.at,
            row.place.workspace_id,
            row.place.click_id,
            row.customer_id,
            row.place.asked_program_id,
        )
        for row in leads
    ]
    ids, times, *others = columns(said)
    found = await connection.fetch(
        _SQL["leads_earned"], ids, times, DEFAULT_WINDOW_DAYS, *others
    )
    earned_by = {record["id"]: record for record in found}
    return [_with(row, earned_by[row.id]) for row in leads]


def locked_by(leads: Iterable[Row]) -> frozenset[UUID]:
    """The customers to lock: visitors of sign-ups, whose customers are new, and customers."""
    ids = (row.place.click_id or row.customer_id for row in leads)
    return frozenset(each for each in ids if each)


def customers_of(leads: Iterable[Row]) -> frozenset[UUID]:
    """The customers whose other leads a lead among these may outrank: none of new customers."""
    return frozenset(
        row.customer_id
        for row in leads
        if row.event.kind is Kind.LEAD and row.customer_id and not row.place.click_id
    )


def _is_possible(row: Row) -> bool:
    return (
        row.event.kind in _KINDS
        and not row.event.is_test
        and not row.rank.is_keyless
        and row.place.is_click_ours
        and row.envelope.customer.external_id is not None
    )


async def _signups(
    connection: Connection,
    rows: Sequence[Row],
    leads: Sequence[Row],
    created: Collection[UUID],
) -> frozenset[UUID]:
    """The leads that are the only events of a new customer and of a visitor nobody has named."""
    people = Counter(row.customer_id for row in rows)
    roots = Counter(row.root_id for row in rows)
    possible = [
        row
        for row in leads
        if row.place.click_id
        and row.customer_id in created
        and people[row.customer_id] == roots[row.root_id] == 1
    ]
    unnamed = await _unnamed(connection, possible)
    return frozenset(row.id for row in possible if row.place.click_id in unnamed)


async def _unnamed(connection: Connection, leads: Sequence[Row]) -> frozenset[UUID]:
    if not leads:
        return frozenset()
    asked = columns((row.place.click_id, row.place.workspace_id) for row in leads)
    found = await connection.fetch(_SQL["visitors_unnamed"], *asked)
    return frozenset(record["id"] for record in found)


def _with(row: Row, earned: DatabaseRecord) -> Row:
    place = replace(row.place, **{name: earned[name] for name in _EARNED})
    return replace(
        row,
        place=place,
        attributed_id=earned["attributed_id"],
        is_unverified=earned["is_unverified"],
    )
