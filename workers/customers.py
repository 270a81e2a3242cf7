"""Customers: who they are, what is known of them, and which click earned a lead.

Imported by `write`. Everything in here follows from recorded rows, never from the order in
which they came: a batch locks every customer it may concern, then brings what is derived
(who an anonymous customer is, what a lead is attributed to) in line with the rows.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from ingest.contracts.envelope import Kind
from workers.counters import Deltas
from workers.database import Connection
from workers.rows import Row, Standing
from workers.sql import statements

_SQL: Final = statements("customers")

_STATUS: Final = {Kind.CLICK: 0, Kind.LEAD: 1, Kind.DEFERRED: 1, Kind.SALE: 2}
_STATUS_NAMES: Final = ("click", "lead", "customer")
_FIELDS: Final = ("customer_name", "customer_email", "customer_avatar")


class Widen(Exception):
    """Rows committed meanwhile concern more customers: begin again, locking these too."""

    def __init__(self, ids: frozenset[UUID]) -> None:
        """`ids` are customers to lock from the start."""
        super().__init__(len(ids))
        self.ids = ids


@dataclass(frozen=True, slots=True)
class Concern:
    """Whom a batch may concern beyond rows that it alone can know of."""

    #: Customers: anonymous ones by their root clicks, identified ones by their ids.
    ids: frozenset[UUID]
    #: Leads from this time on may be attributed anew; None: all of them.
    since: datetime | None


async def identify(
    connection: Connection, rows: Sequence[Row], new_id: Callable[[], UUID]
) -> list[Row]:
    """The rows with their customers' ids; customers never seen before are created.

    A lead without an external id is its root click's anonymous customer's.
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


async def introduce(connection: Connection, rows: Sequence[Row]) -> frozenset[UUID]:
    """Create the anonymous customers that rows name; those that nobody knew before."""
    first: dict[UUID, Row] = {}
    for row in rows:
        if row.root_id and not row.is_test:
            known = first.setdefault(row.root_id, row)
            if row.at < known.at:
                first[row.root_id] = row
    if not first:
        return frozenset()
    roots = sorted(first)
    added = await connection.fetch(
        _SQL["anonymous_add"],
        roots,
        [first[root].workspace_id for root in roots],
        [first[root].at for root in roots],
    )
    return frozenset(record["id"] for record in added)


def concern(
    rows: Sequence[Row],
    gone: Sequence[Standing],
    fresh: frozenset[UUID],
    aliases: frozenset[UUID],
) -> Concern:
    """Whom rows concern, given the rows they displace and the customers they introduced.

    A click whose anonymous customer is new concerns nobody: no lead can have named it.
    """
    people = [row for row in rows if not row.is_test]
    known = [row for row in people if row.root_id not in fresh]
    leads = [*(row for row in people if row.kind is not Kind.CLICK), *gone]
    ids = {row.root_id for row in (*known, *leads)} | aliases
    ids |= {row.customer_id for row in leads}
    late = [row.at for row in known] if not leads and not aliases else []
    return Concern(
        ids=frozenset(item for item in ids if item),
        since=min(late, default=None),
    )


async def lock(
    connection: Connection, about: Concern, wider: frozenset[UUID]
) -> Concern:
    """Lock everybody concerned, in the order of ids, and know that it is everybody.

    Raises Widen where rows committed between reading and locking concern more.
    """
    locked = await _reach(connection, about.ids) | wider
    await connection.execute(_SQL["customers_lock"], sorted(locked))
    reached = await _reach(connection, about.ids)
    if not reached <= locked:
        raise Widen(reached | locked)
    return Concern(reached, about.since)


async def learn(
    connection: Connection, rows: Sequence[Row], fresh: frozenset[UUID]
) -> None:
    """Let customers know what rows say of them: of every field the latest value is kept.

    Repeats say things too; every field has its writer's (event time, id), so it does not
    matter who speaks first. Needs the locks.
    """
    lessons: dict[UUID, _Lesson] = {}
    for row in rows:
        if row.is_test or (row.kind is Kind.CLICK and row.root_id in fresh):
            continue
        for customer in {row.customer_id, row.root_id}:
            if customer is None:
                continue
            lesson = lessons.setdefault(customer, _Lesson(row.at))
            lesson.hear(row, of_fields=customer == row.customer_id)
    if lessons:
        ids = sorted(lessons)
        columns = zip(*(lessons[customer].columns() for customer in ids), strict=True)
        await connection.execute(
            _SQL["customers_learn"], ids, *(list(column) for column in columns)
        )


async def attribute(connection: Connection, about: Concern, deltas: Deltas) -> None:
    """Bring anonymous customers and leads in line with the rows. Needs the locks."""
    people = sorted(about.ids)
    await connection.execute(_SQL["customers_point"], people)
    leads = await connection.fetch(_SQL["leads_attribution"], people, about.since)
    if not leads:
        return
    before = [Standing.of(lead) for lead in leads]
    after = [
        replace(
            standing,
            link_id=lead["earned_link_id"],
            program_id=lead["earned_program_id"],
            partner_id=lead["earned_partner_id"],
        )
        for standing, lead in zip(before, leads, strict=True)
    ]
    deltas.take(before)
    deltas.put(after)
    await connection.execute(
        _SQL["leads_attribute"],
        [lead.id for lead in after],
        [lead["earned_id"] for lead in leads],
        [lead.link_id for lead in after],
        [lead.program_id for lead in after],
        [lead.partner_id for lead in after],
    )


class _Lesson:
    """What one batch says of one customer."""

    def __init__(self, seen_at: datetime) -> None:
        self._seen_at = seen_at
        self._status = 0
        self._said: dict[str, tuple[datetime, UUID, str]] = {}

    def hear(self, row: Row, *, of_fields: bool) -> None:
        self._seen_at = min(self._seen_at, row.at)
        self._status = max(self._status, _STATUS.get(row.kind, 0))
        for name in _FIELDS if of_fields else ():
            value: str | None = getattr(row, name)
            if value is not None:
                said = (row.at, row.id, value)
                self._said[name] = max(said, self._said.get(name, said))

    def columns(self) -> list[object]:
        out: list[object] = [self._seen_at, _STATUS_NAMES[self._status]]
        for name in _FIELDS:
            at, by, value = self._said.get(name, (None, None, None))
            out += [value, at, by]
        return out


async def _reach(connection: Connection, ids: frozenset[UUID]) -> frozenset[UUID]:
    found = await connection.fetch(_SQL["customers_reached"], sorted(ids))
    return frozenset(record["id"] for record in found)


def _first_seen(rows: Iterable[Row]) -> dict[tuple[UUID, str], datetime]:
    seen: dict[tuple[UUID, str], datetime] = {}
    for row in rows:
        if row.external_id is not None and not row.is_test:
            key = (row.workspace_id, row.external_id)
            seen[key] = min(row.at, seen.get(key, row.at))
    return seen


def _with_customer(row: Row, known: dict[tuple[UUID, str], UUID]) -> Row:
    if row.is_test or row.kind is Kind.CLICK:
        return row
    if row.external_id is None:
        return replace(row, customer_id=row.click_id)
    return replace(row, customer_id=known[row.workspace_id, row.external_id])
