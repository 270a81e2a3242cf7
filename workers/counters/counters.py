"""Counters: what changed rows add, less what they had added. Imported by `write`."""

from collections.abc import Iterable
from datetime import date, datetime
from operator import add
from typing import Any, Final, NamedTuple
from uuid import UUID

from ingest.contracts.envelope import CLICK
from workers.model.rows import Contribution, Row, StoredRow
from workers.postgres.database import Connection, array_literal
from workers.postgres.sql import statements

_SQL: Final = statements("counters/counters")
_NOTHING: Final = (0, 0, 0, 0, 0)
_LEADS: Final = 3

#: What is added to the columns of a table's rows, by the rows' keys.
_Changes = dict[tuple[Any, ...], tuple[int, ...]]


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
        self._links: _Changes = {}
        self._partners: _Changes = {}
        self._days: _Changes = {}
        self._link_amounts: _Changes = {}
        self._partner_amounts: _Changes = {}
        self._clicked: dict[UUID, datetime] = {}
        self._led: dict[tuple[UUID, UUID], tuple[datetime, UUID]] = {}

    @property
    def links(self) -> frozenset[UUID]:
        """The links that counted rows were given to or taken from."""
        return frozenset(link for (link,) in self._links)

    @property
    def led(self) -> list[LeadGain]:
        """The partners that have more leads than before."""
        return [
            LeadGain(*partner, event_id)
            for partner, (_, event_id) in sorted(self._led.items())
            if self._partners[partner][_LEADS] > 0
        ]

    def put(self, rows: Iterable[StoredRow]) -> None:
        for row in rows:
            if share := row.share():
                self._count(share, share.counts, share.amount)
                if share.counts[_LEADS] and share.program_id and share.partner_id:
                    partner, lead = (
                        (share.program_id, share.partner_id),
                        (row.at, row.id),
                    )
                    self._led[partner] = max(lead, self._led.get(partner, lead))

    def put_clicks(self, rows: Iterable[Row]) -> None:
        """Put in plain clicks, all that count in one place at once."""
        found: dict[tuple[UUID, UUID | None, UUID | None, date], list[Any]] = {}
        for row in rows:
            link_id, at, quantity = row.place.link_id, row.at, row.event.quantity
            if link_id is None:
                continue
            place = (link_id, row.place.program_id, row.place.partner_id, at.date())
            counted = found.get(place)
            if counted is None:
                counted = found[place] = [0, 0, 0, at]
            counted[0] += quantity
            if row.event.is_bot:
                counted[1] += quantity
            if row.event.is_duplicate:
                counted[2] += quantity
            if at > counted[3]:  # noqa: PLR1730 -- a call takes as long as all the rest
                counted[3] = at
        for place, (clicks, bots, duplicates, latest) in found.items():
            counts = (clicks, bots, duplicates, 0, 0)
            share = Contribution(*place, counts, None, 0)
            self._count(share, counts, 0)
            link = share.link_id
            self._clicked[link] = max(latest, self._clicked.get(link, latest))

    def take(self, rows: Iterable[StoredRow]) -> None:
        for row in rows:
            if share := row.share():
                self._count(share, tuple(-n for n in share.counts), -share.amount)

    def clicked(self, rows: Iterable[StoredRow]) -> None:
        """Note the time of every click entry, repeats included: the latest is kept."""
        for row in rows:
            if row.event.kind is CLICK and row.place.link_id and not row.event.is_test:
                latest = self._clicked.get(row.place.link_id, row.at)
                self._clicked[row.place.link_id] = max(latest, row.at)

    async def apply(self, connection: Connection) -> None:
        """Write the difference: links, enrolments, days, then amounts of links and enrolments.

        Each in the order of its keys, which the statements see to; nothing where nothing
        differs.
        """
        counted = {link for (link,) in _differing(self._links)}
        links = list(counted | self._clicked.keys())
        partners, days = _differing(self._partners), _differing(self._days)
        if links or partners or days:
            await connection.execute(
                _SQL["counts_add"],
                links,
                *_numbers(self._links.get((link,), _NOTHING) for link in links),
                [self._clicked.get(link) for link in links],
                *_columns(partners, 2),
                *_numbers(self._partners[key] for key in partners),
                *_columns(days, 2),
                *_numbers(self._days[key] for key in days),
            )
        for statement, changes in (
            ("link_amounts_count", self._link_amounts),
            ("program_partner_amounts_count", self._partner_amounts),
        ):
            if keys := _differing(changes):
                rows = [(*key, *changes[key]) for key in keys]
                await connection.execute(_SQL[statement], *_columns(rows, len(rows[0])))

    def _count(self, share: Contribution, counts: tuple[int, ...], amount: int) -> None:
        _add(self._links, (share.link_id,), counts)
        _add(self._days, (share.link_id, share.day), counts)
        if share.currency is not None:
            _add(self._link_amounts, (share.link_id, share.currency), (amount,))
        if share.program_id is None or share.partner_id is None:
            return
        partner = (share.program_id, share.partner_id)
        _add(self._partners, partner, counts)
        if share.currency is not None:
            _add(self._partner_amounts, (*partner, share.currency), (amount,))


def _add(changes: _Changes, key: tuple[Any, ...], numbers: tuple[int, ...]) -> None:
    known = changes.get(key)
    changes[key] = numbers if known is None else tuple(map(add, known, numbers))


def _differing(changes: _Changes) -> list[tuple[Any, ...]]:
    return [key for key, numbers in changes.items() if any(numbers)]


def _numbers(counts: Iterable[tuple[int, ...]]) -> list[str]:
    """Counts as arrays of each of them."""
    columns = list(zip(*counts, strict=True)) or [()] * len(_NOTHING)
    return [array_literal(column) for column in columns]


def _columns(rows: Iterable[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] or [[]] * width
