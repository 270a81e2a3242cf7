"""Counters: what changed rows add, less what they had added."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from operator import add
from typing import Any, Final
from uuid import UUID

from ingest.contracts.envelope import CLICK, Kind
from workers.counters.rule import (
    ADD_ALL,
    LINK_AMOUNTS,
    LINK_DAYS,
    LINKS,
    NAMES,
    PRICED,
    PROGRAM_PARTNER_AMOUNTS,
    PROGRAM_PARTNERS,
    TABLES,
    WEIGHTS,
    addition,
    arguments,
)
from workers.model.rows import EventFacts, Place, StoredRow
from workers.postgres.database import Connection, columns
from workers.postgres.sql import statements

_SQL: Final = statements("counters/milestones")
_LEADS: Final = NAMES.index("leads")
_NOTHING: Final = (0,) * len(NAMES)
#: A day of UUIDv7: their first 48 bits are milliseconds.
_BUCKET: Final = 24 * 3600 * 1000 << 80
_EPOCH: Final = date(1970, 1, 1)
_ADD_AMOUNTS: Final = (
    (LINK_AMOUNTS, addition(LINK_AMOUNTS)),
    (PROGRAM_PARTNER_AMOUNTS, addition(PROGRAM_PARTNER_AMOUNTS)),
)

#: What is added to the counters of a table's rows, by the rows' keys.
_Changes = dict[tuple[Any, ...], list[int]]


@dataclass(slots=True, eq=False)
class _Group:
    """Rows that add to the same counters in the same places, or take from them."""

    place: Place
    event: EventFacts
    #: The latest time of one of them; the others are of the same day.
    latest: datetime
    quantity: int = 0
    amount: int = 0


class CounterDeltas:
    """What one transaction does to the counters, and which facets it changes.

    Insert, late click, earlier repeat, reprocess and erase are one mechanism: take the old
    row away, put the new row in, apply the difference at the end in a fixed order of keys.
    """

    def __init__(self) -> None:
        """Start with no difference."""
        #: By place, day, kind, flags and currency. Places and kinds by identity, since hashes
        #: of UUIDs and enumerations are computed in Python, and plain clicks share places.
        self._groups: dict[tuple[Any, ...], _Group] = {}
        self._clicked: dict[UUID, datetime] = {}
        #: The days of ids whose facets have to be made anew, as `_BUCKET` counts them.
        self._buckets: set[int] = set()
        #: The latest lead of each program and partner.
        self._leads: dict[tuple[UUID | None, UUID | None], tuple[datetime, UUID]] = {}

    @property
    def links(self) -> frozenset[UUID]:
        """The links that counted rows were given to or taken from."""
        places = (group.place for group in self._groups.values())
        return frozenset(place.link_id for place in places if place.link_id)

    def put(self, rows: Iterable[StoredRow]) -> None:
        for row in rows:
            self._add(row, 1)
            event = row.event
            if event.kind is Kind.LEAD and event.quantity and not event.is_duplicate:
                partner = (row.place.program_id, row.place.partner_id)
                lead = (row.at, row.id)
                self._leads[partner] = max(lead, self._leads.get(partner, lead))

    def take(self, rows: Iterable[StoredRow]) -> None:
        for row in rows:
            self._add(row, -1)

    def clicked(self, rows: Iterable[StoredRow]) -> None:
        """Note the time of click entries that are not put in, as repeats: the latest is kept."""
        for row in rows:
            link_id = row.place.link_id
            if link_id and row.event.kind is CLICK and not row.event.is_test:
                self._note_click(link_id, row.at)

    async def apply(self, connection: Connection) -> None:
        """Write the difference, and award the milestones that partners have reached by it.

        Links, enrolments, days, then amounts of links and enrolments, each in the order of
        its keys, which the statements see to; nothing where nothing differs. An award stays when
        one of the leads is attributed to another partner later; that one may earn it too.
        """
        changes = self._changes()
        links = _differing(changes[LINKS.name])
        known = {link for (link,), _ in links}
        links += [((link,), [*_NOTHING]) for link in self._clicked.keys() - known]
        partners = _differing(changes[PROGRAM_PARTNERS.name])
        days = _differing(changes[LINK_DAYS.name])
        if links or partners or days or self._buckets:
            await connection.execute(
                ADD_ALL,
                *arguments(LINKS, links),
                [self._clicked.get(link) for (link,), _ in links],
                *arguments(PROGRAM_PARTNERS, partners),
                *arguments(LINK_DAYS, days),
                [_EPOCH + timedelta(days=day) for day in self._buckets],
            )
        for table, statement in _ADD_AMOUNTS:
            if found := _differing(changes[table.name]):
                await connection.execute(statement, *arguments(table, found))
        # This transaction holds the enrolments' rows, so it sees all leads counted so far.
        led = [
            (*partner, self._leads[partner][1])
            for partner, counts in sorted(partners)
            if counts[_LEADS] > 0
        ]
        if led:
            await connection.execute(_SQL["awards_give"], *columns(led))

    def _add(self, row: StoredRow, sign: int) -> None:
        event, place, at = row.event, row.place, row.rank.at
        if place.link_id is None and not event.is_test:
            return
        self._buckets.add(row.rank.id.int // _BUCKET)
        if event.is_test:
            return
        flags = (event.is_bot, event.is_duplicate)
        key = (id(place), at.date(), id(event.kind), flags, event.currency)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(place, event, at)
        group.quantity += sign * event.quantity
        group.amount += sign * (event.amount or 0)
        if at > group.latest:  # noqa: PLR1730 -- a call takes as long as all the rest
            group.latest = at

    def _note_click(self, link_id: UUID, at: datetime) -> None:
        self._clicked[link_id] = max(at, self._clicked.get(link_id, at))

    def _changes(self) -> dict[str, _Changes]:
        """What differs, by tables."""
        changes: dict[str, _Changes] = {table.name: {} for table in TABLES}
        for group in self._groups.values():
            event, place = group.event, group.place
            weights = WEIGHTS.get((event.kind, event.is_bot, event.is_duplicate))
            if weights is None or place.link_id is None:
                continue
            counts = [group.quantity * weight for weight in weights]
            link, partner = (place.link_id,), (place.program_id, place.partner_id)
            is_enrolled = place.program_id is not None and place.partner_id is not None
            _add(changes[LINKS.name], link, counts)
            _add(changes[LINK_DAYS.name], (*link, group.latest.date()), counts)
            if is_enrolled:
                _add(changes[PROGRAM_PARTNERS.name], partner, counts)
            if event.kind is CLICK:
                self._note_click(place.link_id, group.latest)
            elif event.kind in PRICED and event.currency is not None:
                # As Postgres pads it, and gives it back.
                currency, amount = event.currency.ljust(3), [group.amount]
                _add(changes[LINK_AMOUNTS.name], (*link, currency), amount)
                if is_enrolled:
                    key = (*partner, currency)
                    _add(changes[PROGRAM_PARTNER_AMOUNTS.name], key, amount)
        return changes


def _add(changes: _Changes, key: tuple[Any, ...], numbers: list[int]) -> None:
    known = changes.setdefault(key, numbers)
    if known is not numbers:
        changes[key] = [*map(add, known, numbers)]


def _differing(changes: _Changes) -> list[tuple[tuple[Any, ...], list[int]]]:
    """The keys whose numbers are not all zero, with these."""
    return [change for change in changes.items() if any(change[1])]
