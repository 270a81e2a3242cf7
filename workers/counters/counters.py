"""Counters: what changed rows add, less what they had added."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from operator import add, itemgetter
from typing import Any, Final, NamedTuple
from uuid import UUID

from ingest.contracts.envelope import CLICK, Kind
from workers.counters.rule import (
    LINK_AMOUNTS,
    LINK_DAYS,
    LINKS,
    NAMES,
    PROGRAM_PARTNER_AMOUNTS,
    PROGRAM_PARTNERS,
    TABLES,
    WEIGHTS,
    CounterTable,
)
from workers.counters.statements import ADD_ALL, addition, arguments
from workers.model.rows import StoredRow
from workers.postgres.database import Connection

_LEADS: Final = NAMES.index("leads")
_NOTHING: Final = (0,) * len(NAMES)
_ADD_AMOUNTS: Final = (
    (LINK_AMOUNTS, addition(LINK_AMOUNTS)),
    (PROGRAM_PARTNER_AMOUNTS, addition(PROGRAM_PARTNER_AMOUNTS)),
)

#: Where a row is counted.
_WHERE: Final = ("link_id", "program_id", "partner_id", "day", "currency")
_KEYS: Final = tuple(
    # A slice, since of one index there would be no tuple.
    (
        table,
        itemgetter(*map(_WHERE.index, table.key))
        if len(table.key) > 1
        else itemgetter(slice(1)),
    )
    for table in TABLES
)

_Where = tuple[UUID, UUID | None, UUID | None, date, str | None]
#: What is added to the counters of a table's rows, by the rows' keys.
_Changes = dict[tuple[Any, ...], list[int]]


class LeadGain(NamedTuple):
    """A partner that has more leads in a program now, and the latest of those leads."""

    program_id: UUID
    partner_id: UUID
    event_id: UUID


class CounterDeltas:
    """What one transaction does to the counters.

    Insert, late click, earlier repeat, reprocess and erase are one mechanism: take the old
    row away, put the new row in, apply the difference at the end in a fixed order of keys.
    """

    def __init__(self) -> None:
        """Start with no difference."""
        #: Quantity and amount, by where they are counted and with which weights.
        self._sums: dict[tuple[_Where, tuple[int, ...]], list[int]] = {}
        self._clicked: dict[UUID, datetime] = {}
        #: The partners that have more leads than before; known once it is applied.
        self.led: Sequence[LeadGain] = ()
        #: The latest lead of each program and partner.
        self._leads: dict[tuple[UUID | None, UUID | None], tuple[datetime, UUID]] = {}

    @property
    def links(self) -> frozenset[UUID]:
        """The links that counted rows were given to or taken from."""
        return frozenset(where[0] for where, _ in self._sums)

    def put(self, rows: Iterable[StoredRow]) -> None:
        for row in rows:
            if self._add(row, 1) and row.event.kind is Kind.LEAD and row.event.quantity:
                partner = (row.place.program_id, row.place.partner_id)
                lead = (row.at, row.id)
                self._leads[partner] = max(lead, self._leads.get(partner, lead))

    def take(self, rows: Iterable[StoredRow]) -> None:
        for row in rows:
            self._add(row, -1)

    def clicked(self, rows: Iterable[StoredRow]) -> None:
        """Note the time of every click entry, repeats included: the latest is kept."""
        for row in rows:
            link_id, at = row.place.link_id, row.rank.at
            if link_id is None or row.event.kind is not CLICK or row.event.is_test:
                continue
            latest = self._clicked.get(link_id)
            if latest is None or at > latest:
                self._clicked[link_id] = at

    async def apply(self, connection: Connection) -> None:
        """Write the difference.

        Links, enrolments, days, then amounts of links and enrolments, each in the order of
        its keys, which the statements see to; nothing where nothing differs.
        """
        changes = self._changes()
        links = changes[LINKS.name]
        links |= {
            (link,): [*_NOTHING] for link in self._clicked if (link,) not in links
        }
        if links or changes[PROGRAM_PARTNERS.name] or changes[LINK_DAYS.name]:
            await connection.execute(
                ADD_ALL,
                *_arguments(LINKS, changes),
                [self._clicked.get(link) for (link,) in links],
                *_arguments(PROGRAM_PARTNERS, changes),
                *_arguments(LINK_DAYS, changes),
            )
        for table, statement in _ADD_AMOUNTS:
            if changes[table.name]:
                await connection.execute(statement, *_arguments(table, changes))
        partners = changes[PROGRAM_PARTNERS.name]
        self.led = [
            LeadGain(program_id, partner_id, self._leads[program_id, partner_id][1])
            for (program_id, partner_id), counts in sorted(partners.items())
            if counts[_LEADS] > 0
        ]

    def _add(self, row: StoredRow, sign: int) -> bool:
        """Add what a row contributes, or subtract it; whether it is counted at all."""
        event, place = row.event, row.place
        weights = WEIGHTS.get((event.kind, event.is_bot, event.is_duplicate))
        if weights is None or event.is_test or place.link_id is None:
            return False
        currency, amount = None, 0
        if event.kind is Kind.SALE and event.currency is not None:
            # As Postgres pads it, and gives it back.
            currency, amount = event.currency.ljust(3), event.amount or 0
        day = row.rank.at.date()
        where = (place.link_id, place.program_id, place.partner_id, day, currency)
        sums = self._sums.setdefault((where, weights), [0, 0])
        sums[0] += sign * event.quantity
        sums[1] += sign * amount
        return True

    def _changes(self) -> dict[str, _Changes]:
        """What differs, by tables."""
        changes: dict[str, _Changes] = {table.name: {} for table in TABLES}
        for (where, weights), (quantity, amount) in self._sums.items():
            counts = [quantity * weight for weight in weights]
            for table, key_of in _KEYS:
                key = key_of(where)
                if all(key):  # not everything has a partner and a price
                    numbers = counts if table.counters is NAMES else [amount]
                    _add(changes[table.name], key, numbers)
        return {
            name: {key: numbers for key, numbers in found.items() if any(numbers)}
            for name, found in changes.items()
        }


def _add(changes: _Changes, key: tuple[Any, ...], numbers: list[int]) -> None:
    known = changes.setdefault(key, numbers)
    if known is not numbers:
        changes[key] = [*map(add, known, numbers)]


def _arguments(table: CounterTable, changes: dict[str, _Changes]) -> list[Any]:
    found = changes[table.name]
    return arguments(table, found.keys(), found.values())
