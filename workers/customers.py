"""Customers: who they are, what is known of them, and which click earned a lead.

Imported by `write`. Everything in here follows from recorded rows, never from the order in
which they came: a batch locks every customer it may concern, then brings what is derived
(who an anonymous customer is, what a lead is attributed to) in line with the rows.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID, uuid5

from msgspec.structs import replace

from ingest.contracts.directory import DEFAULT_WINDOW_DAYS
from ingest.contracts.envelope import Kind
from workers.counters import Deltas
from workers.database import Connection, put
from workers.rows import Row, Standing
from workers.sql import statements

_SQL: Final = statements("customers")

#: A deferred lead makes a customer known; only the lead itself makes it one.
_STATUS: Final = {Kind.CLICK: 0, Kind.DEFERRED: 0, Kind.LEAD: 1, Kind.SALE: 2}
_STATUS_NAMES: Final = ("click", "lead", "customer")
_FIELDS: Final = ("customer_name", "customer_email", "customer_avatar")
_ANONYMOUS: Final = ("id", "workspace_id", "seen_at")


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


async def introduce(
    connection: Connection, rows: Sequence[Row], plain: Sequence[Row] = ()
) -> frozenset[UUID]:
    """Create the anonymous customers that rows name; those that nobody knew before.

    `plain` rows name nobody but their own. Raises `database.Raced`.
    """
    lessons: dict[UUID, _Lesson] = {}
    for row in rows:
        for person in _people(row):
            if person == row.root_id or row.external_id is None:
                lessons.setdefault(person, _Lesson(row)).hear(row, person)
    for row in plain:
        if row.id in lessons:
            lessons[row.id].hear(row, row.id)
    people = [(who, said.workspace_id, said.seen_at) for who, said in lessons.items()]
    people += [
        (row.id, row.workspace_id, row.at) for row in plain if row.id not in lessons
    ]
    if not people:
        return frozenset()
    found = await connection.fetch(_SQL["customers_known"], [who for who, *_ in people])
    if found:
        known = {record["id"] for record in found}
        people = [person for person in people if person[0] not in known]
    people.sort(key=_by_id)
    await put(connection, "customers", _ANONYMOUS, people, len(people))
    return frozenset(who for who, *_ in people)


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
    # A named click earns its lead even if clocks say that it came later.
    is_named = any(row.root_id == row.id for row in known)
    late = [] if leads or aliases or is_named else [row.at for row in known]
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
        if row.kind is Kind.CLICK and row.root_id in fresh:
            continue
        for person in _people(row):
            lessons.setdefault(person, _Lesson(row)).hear(row, person)
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
    leads = await connection.fetch(
        _SQL["leads_attribution"], people, about.since, DEFAULT_WINDOW_DAYS
    )
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

    def __init__(self, row: Row) -> None:
        self.seen_at = row.at
        self.workspace_id = row.workspace_id
        #: Whether the customer's own click says whose it is, not somebody who names it.
        self.is_certain = False
        self._status = 0
        self._said: dict[str, tuple[datetime, UUID, str]] = {}

    def hear(self, row: Row, person: UUID) -> None:
        """What a row says of one of its people."""
        self.seen_at = min(self.seen_at, row.at)
        if row.id == person:
            self.workspace_id, self.is_certain = row.workspace_id, True
        elif not self.is_certain:
            self.workspace_id = min(self.workspace_id, row.workspace_id)
        is_its_own = person == row.customer_id
        # What counts nothing, a sale for nothing, moves nobody on.
        if row.quantity and (is_its_own or row.is_click_ours):
            self._status = max(self._status, _STATUS.get(row.kind, 0))
        for name in _FIELDS if is_its_own else ():
            value: str | None = getattr(row, name)
            if value is not None:
                said = (row.at, row.id, value)
                self._said[name] = max(said, self._said.get(name, said))

    def columns(self) -> list[object]:
        status = _STATUS_NAMES[self._status]
        out: list[object] = [self.seen_at, status, self.workspace_id, self.is_certain]
        for name in _FIELDS:
            at, by, value = self._said.get(name, (None, None, None))
            out += [value, at, by]
        return out


def _by_id(person: tuple[UUID, UUID, datetime]) -> int:
    return person[0].int


async def _reach(connection: Connection, ids: frozenset[UUID]) -> frozenset[UUID]:
    found = await connection.fetch(_SQL["customers_reached"], sorted(ids))
    return frozenset(record["id"] for record in found)


def _people(row: Row) -> set[UUID]:
    """The customers that a row says something of."""
    if row.is_test:
        return set()
    return {person for person in (row.customer_id, row.root_id) if person}


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
    if row.external_id is None and row.click_id and not row.is_click_ours:
        stand_in = uuid5(row.click_id, row.workspace_id.hex)
        return replace(row, customer_id=stand_in)
    if row.external_id is None:
        return replace(row, customer_id=row.click_id)
    return replace(row, customer_id=known[row.workspace_id, row.external_id])
