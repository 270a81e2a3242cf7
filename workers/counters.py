"""Counters: what changed rows add, less what they had added. Imported by `write`."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date, datetime
from operator import add
from typing import Final
from uuid import UUID

from ingest.contracts.envelope import Kind
from workers.database import Connection
from workers.rows import Share, Standing
from workers.sql import statements

_SQL: Final = statements("counters")
_NOTHING: Final = (0, 0, 0, 0, 0)


class Deltas:
    """What one transaction does to the counters.

    Insert, late click, earlier repeat, reprocess and erase are one mechanism: take the old
    row away, put the new row in, apply the difference at the end in a fixed order of keys.
    """

    def __init__(self) -> None:
        """Start with no difference."""
        self._links: dict[UUID, tuple[int, ...]] = defaultdict(lambda: _NOTHING)
        self._partners: dict[tuple[UUID, UUID], tuple[int, ...]] = defaultdict(
            lambda: _NOTHING
        )
        self._days: dict[tuple[UUID, date], tuple[int, ...]] = defaultdict(
            lambda: _NOTHING
        )
        self._clicked: dict[UUID, datetime] = {}

    def put(self, rows: Iterable[Standing]) -> None:
        for row in rows:
            if share := row.share():
                self._count(share, share.amounts)

    def take(self, rows: Iterable[Standing]) -> None:
        for row in rows:
            if share := row.share():
                self._count(share, tuple(-amount for amount in share.amounts))

    def clicked(self, rows: Iterable[Standing]) -> None:
        """Note the time of every click entry, repeats included: the latest is kept."""
        for row in rows:
            if row.kind is Kind.CLICK and row.link_id and not row.is_test:
                latest = self._clicked.get(row.link_id, row.at)
                self._clicked[row.link_id] = max(latest, row.at)

    async def apply(self, connection: Connection) -> None:
        """Write the difference: links, then enrolments, then days, each sorted by key."""
        links = sorted(self._links.keys() | self._clicked.keys())
        if links:
            await connection.execute(
                _SQL["links_count"],
                links,
                *_columns([self._links[link] for link in links]),
                [self._clicked.get(link) for link in links],
            )
        partners = sorted(key for key, value in self._partners.items() if any(value))
        if partners:
            await connection.execute(
                _SQL["program_partners_count"],
                *_keys(partners),
                *_columns([self._partners[key] for key in partners]),
            )
        days = sorted(key for key, value in self._days.items() if any(value))
        if days:
            await connection.execute(
                _SQL["link_days_count"],
                *_keys(days),
                *_columns([self._days[key] for key in days]),
            )

    def _count(self, share: Share, amounts: tuple[int, ...]) -> None:
        day = (share.link_id, share.day)
        self._links[share.link_id] = _sum(self._links[share.link_id], amounts)
        self._days[day] = _sum(self._days[day], amounts)
        if share.program_id and share.partner_id:
            partner = (share.program_id, share.partner_id)
            self._partners[partner] = _sum(self._partners[partner], amounts)


def _sum(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(map(add, left, right))


def _columns(values: list[tuple[int, ...]]) -> list[list[int]]:
    return [list(column) for column in zip(*values, strict=True)]


def _keys(pairs: Iterable[tuple[object, object]]) -> list[list[object]]:
    return [list(column) for column in zip(*pairs, strict=True)]
