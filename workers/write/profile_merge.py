"""What rows say of customers: who there is, and what is known of them. Imported by `write`.

Every field of a customer has its writer's (event time, id), so that it does not matter who
speaks first.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from ingest.contracts.envelope import CLICK, Kind
from workers.model.rows import Row
from workers.postgres.database import Connection, copy_rows
from workers.postgres.sql import statements

_SQL: Final = statements("write/customers")

#: A deferred lead makes a customer known; only the lead itself makes it one.
_STATUS: Final = {Kind.CLICK: 0, Kind.DEFERRED: 0, Kind.LEAD: 1, Kind.SALE: 2}
_STATUS_NAMES: Final = ("click", "lead", "customer")
_FIELDS: Final = ("name", "email", "avatar")
_ANONYMOUS: Final = ("id", "workspace_id", "seen_at")


async def create_anonymous(
    connection: Connection, rows: Sequence[Row], plain: Sequence[Row] = ()
) -> frozenset[UUID]:
    """Create the anonymous customers that rows name; those that nobody knew before.

    `plain` clicks have customers that nobody knows, each its own, made here too; among those
    that are given back are only such as `rows` name. Raises `database.Raced`.
    """
    lessons: dict[UUID, _ProfileUpdate] = {}
    for row in rows:
        for person in _people(row):
            if person == row.root_id or row.envelope.customer.external_id is None:
                lessons.setdefault(person, _ProfileUpdate(row)).hear(row, person)
    people = [(row.id, row.place.workspace_id, row.at) for row in plain]
    fresh: frozenset[UUID] = frozenset()
    if lessons:
        fresh = await _unknown(connection, lessons)
        for row in plain:
            if row.id in fresh:
                lessons[row.id].hear(row, row.id)
        people = [person for person in people if person[0] not in fresh]
        people += [
            (who, lessons[who].workspace_id, lessons[who].seen_at) for who in fresh
        ]
    if people:
        people.sort(key=_by_id)
        await copy_rows(connection, "customers", _ANONYMOUS, people, len(people))
    return fresh


async def merge_profiles(
    connection: Connection, rows: Sequence[Row], fresh: frozenset[UUID]
) -> None:
    """Let customers know what rows say of them: of every field the latest value is kept.

    Repeats say things too; every field has its writer's (event time, id), so it does not
    matter who speaks first. Needs the locks.
    """
    lessons: dict[UUID, _ProfileUpdate] = {}
    for row in rows:
        if row.event.kind is CLICK and row.root_id in fresh:
            continue
        for person in _people(row):
            lessons.setdefault(person, _ProfileUpdate(row)).hear(row, person)
    if lessons:
        ids = sorted(lessons)
        columns = zip(*(lessons[customer].columns() for customer in ids), strict=True)
        await connection.execute(
            _SQL["customers_learn"], ids, *(list(column) for column in columns)
        )


class _ProfileUpdate:
    """What one batch says of one customer."""

    def __init__(self, row: Row) -> None:
        self.seen_at = row.at
        self.workspace_id = row.place.workspace_id
        #: Whether the customer's own click says whose it is, not somebody who names it.
        self.is_certain = False
        self._status = 0
        self._said: dict[str, tuple[datetime, UUID, str]] = {}

    def hear(self, row: Row, person: UUID) -> None:
        """What a row says of one of its people."""
        self.seen_at = min(self.seen_at, row.at)
        if row.id == person:
            self.workspace_id, self.is_certain = row.place.workspace_id, True
        elif not self.is_certain:
            self.workspace_id = min(self.workspace_id, row.place.workspace_id)
        is_its_own = person == row.customer_id
        # What counts nothing, a sale for nothing, moves nobody on.
        if row.event.quantity and (is_its_own or row.place.is_click_ours):
            self._status = max(self._status, _STATUS.get(row.event.kind, 0))
        for name in _FIELDS if is_its_own else ():
            value: str | None = getattr(row.envelope.customer, name)
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


async def _unknown(connection: Connection, people: Collection[UUID]) -> frozenset[UUID]:
    """Those of them that are no customers."""
    found = await connection.fetch(_SQL["customers_known"], list(people))
    return frozenset(people) - {record["id"] for record in found}


def _by_id(person: tuple[UUID, UUID, datetime]) -> int:
    return person[0].int


def _people(row: Row) -> set[UUID]:
    """The customers that a row says something of."""
    if row.event.is_test:
        return set()
    return {person for person in (row.customer_id, row.root_id) if person}
