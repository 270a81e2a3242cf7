"""Creates customers and merges what rows say into their profiles.

Each field of a customer keeps the time and id of the event that wrote it, and whether an API
key vouched for that. The latest event with a key wins, else the latest, in whatever order
events arrive.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from operator import attrgetter
from typing import Final
from uuid import UUID

from ingest.contracts.envelope import CLICK, Customer, Kind
from workers.model.emails import StoredEmail, stored_email
from workers.model.rows import Row
from workers.postgres.database import Connection, columns, copy_rows
from workers.postgres.sql import statements

_SQL: Final = statements("write/customers")

#: A deferred lead makes a customer known; only the lead itself makes it one.
_STATUS: Final = {Kind.CLICK: 0, Kind.DEFERRED: 0, Kind.LEAD: 1, Kind.SALE: 2}
_STATUS_NAMES: Final = ("click", "lead", "customer")
_VALUES: Final[Mapping[str, Callable[[Customer], str | StoredEmail | None]]] = {
    "name": attrgetter("name"),
    "email": stored_email,
    "avatar": attrgetter("avatar"),
}
_ANONYMOUS: Final = ("id", "workspace_id", "seen_at")


async def create_anonymous(
    connection: Connection, rows: Sequence[Row], plain: Sequence[Row] = ()
) -> frozenset[UUID]:
    """Create the anonymous customers that rows name and that do not exist; their ids.

    Each of the `plain` clicks gets a customer as well. The ids of those are returned only
    where `rows` name them too. Raises ConcurrentInsert.
    """
    updates: dict[UUID, _ProfileUpdate] = {}
    for row in rows:
        for customer in _customers_of(row):
            if customer == row.root_id or row.envelope.customer.external_id is None:
                updates.setdefault(customer, _ProfileUpdate(row)).add(row, customer)
    new = [(row.id, row.place.workspace_id, row.at) for row in plain]
    fresh: frozenset[UUID] = frozenset()
    if updates:
        known = await connection.fetch(_SQL["customers_known"], list(updates))
        fresh = frozenset(updates) - {record["id"] for record in known}
        for row in plain:
            if row.id in fresh:
                updates[row.id].add(row, row.id)
        new = [customer for customer in new if customer[0] not in fresh]
        new += [
            (customer, updates[customer].workspace_id, updates[customer].seen_at)
            for customer in fresh
        ]
    if new:
        new.sort(key=_by_id)
        await copy_rows(connection, "customers", _ANONYMOUS, new, len(new))
    return fresh


async def merge_profiles(
    connection: Connection,
    rows: Sequence[Row],
    fresh: frozenset[UUID],
    leads: Sequence[Row] = (),
) -> None:
    """Merge what rows say, repeats included, into the profiles of their customers.

    `fresh` are customers that were created from the same rows. Those of plain `leads` are
    connected with the visitors whose clicks these name. Needs the locks.
    """
    updates: dict[UUID, _ProfileUpdate] = {}
    for row in (*rows, *leads):
        if row.event.kind is CLICK and row.root_id in fresh:
            continue
        for customer in _customers_of(row):
            updates.setdefault(customer, _ProfileUpdate(row)).add(row, customer)
    for row in leads:
        if row.place.click_id and row.customer_id:
            updates[row.place.click_id].points_to = row.customer_id
            updates[row.customer_id].is_bound = True
    if updates:
        said = [(each, *updates[each].columns()) for each in sorted(updates)]
        await connection.execute(_SQL["customers_merge"], *columns(said))


class _ProfileUpdate:
    """What one batch says of one customer."""

    def __init__(self, row: Row) -> None:
        self.seen_at = row.at
        self.workspace_id = row.place.workspace_id
        #: Whether the workspace is that of the customer's own click, not of a row that names it.
        self.is_certain = False
        #: Of a visitor: the customer who it turns out to be.
        self.points_to: UUID | None = None
        #: Whether an event with a key names a click of the customer.
        self.is_bound = False
        #: The latest day of an event that an API key vouched for.
        self._used_on: date | None = None
        self._status = self._keyed_status = 0
        #: The latest value of each field, behind whether its event has a key, its time and id.
        self._latest: dict[str, tuple[bool, datetime, UUID, str | StoredEmail]] = {}

    def add(self, row: Row, customer: UUID) -> None:
        """Add what a row says of one of its customers."""
        self.seen_at = min(self.seen_at, row.at)
        if row.id == customer:
            self.workspace_id, self.is_certain = row.place.workspace_id, True
        elif not self.is_certain:
            self.workspace_id = min(self.workspace_id, row.place.workspace_id)
        is_its_own = customer == row.customer_id
        # An event of quantity 0 counts nothing and moves no status.
        if row.event.quantity and (is_its_own or row.place.is_click_ours):
            status = _STATUS.get(row.event.kind, 0)
            self._status = max(self._status, status)
            if not row.rank.is_keyless:
                self._keyed_status = max(self._keyed_status, status)
        if is_its_own and not row.rank.is_keyless:
            self._used_on = max(self._used_on or row.at.date(), row.at.date())
        for name in _VALUES if is_its_own else ():
            value = _VALUES[name](row.envelope.customer)
            if value is not None:
                written = (not row.rank.is_keyless, row.at, row.id, value)
                self._latest[name] = max(written, self._latest.get(name, written))

    def columns(self) -> list[object]:
        out: list[object] = [
            self.seen_at,
            _STATUS_NAMES[self._status],
            _STATUS_NAMES[self._keyed_status],
            self.workspace_id,
            self.is_certain,
        ]
        email = StoredEmail()
        for name in _VALUES:
            is_keyed, at, by, value = self._latest.get(name, (True, None, None, None))
            if isinstance(value, StoredEmail):
                email, value = value, value.plain
            out += [value, is_keyed, at, by]
        out += [self._used_on, email.sealed, email.hash]
        return [*out, self.points_to, self.is_bound]


def _by_id(customer: tuple[UUID, UUID, datetime]) -> int:
    return customer[0].int


def _customers_of(row: Row) -> set[UUID]:
    """The customers that a row says something of."""
    if row.event.is_test:
        return set()
    return {customer for customer in (row.customer_id, row.root_id) if customer}
