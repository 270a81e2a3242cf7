"""What became of a run, and whether it is what was accepted. Used by `play`.

Found are the rows that carry the run's mark, and by how much the links' counters grew.
Together with `reftide verify`, which compares all rows with all counters, that leaves
nothing of the run uncounted.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from ingest.contracts.ids import first_id_at
from scripts.demo.stage import Link
from scripts.demo.tally import (
    ALWAYS,
    BOTS,
    CLICKS,
    COUNTED_LEADS,
    LEADS,
    QUARANTINED,
    REPEATS,
    TESTS,
    Fact,
    Tally,
    bots_of,
    clicks_of,
)
from scripts.servers import Connection, rows, single
from scripts.sql import statements

_SQL: Final = statements("demo/demo")
#: The clocks of edges and servers may be behind ours.
_MARGIN: Final = timedelta(minutes=10)
_SHOWN: Final = 10


@dataclass(frozen=True, slots=True)
class Run:
    """A run by its mark, and from where on to look for it."""

    mark: str
    first_id: UUID
    since: datetime

    @classmethod
    def named(cls, mark: str, now: float) -> "Run":
        """`now` is Unix seconds."""
        since = datetime.fromtimestamp(now, UTC) - _MARGIN
        return cls(mark, first_id_at(int(since.timestamp() * 1000)), since)


@dataclass(frozen=True, slots=True)
class Check:
    """One figure at both ends; `most` is above `expected` where answers were missing."""

    fact: Fact
    expected: int
    most: int
    found: int

    @property
    def is_right(self) -> bool:
        return self.expected <= self.found <= self.most

    def row(self) -> dict[str, object]:
        expected: object = self.expected
        if self.most > self.expected:
            expected = f"{self.expected} to {self.most}"
        return {
            "what": self.fact.what,
            "key": self.fact.key,
            "expected": expected,
            "found": self.found,
            "off_by": self._off_by,
        }

    @property
    def _off_by(self) -> int:
        if self.found < self.expected:
            return self.found - self.expected
        return max(0, self.found - self.most)


async def arrived(connection: Connection, run: Run) -> Counter[Fact]:
    """The run's rows, by fact."""
    found = await single(connection, _SQL["arrived"], run.first_id, run.mark, run.since)
    return Counter({fact: found[name] for name, fact in _COLUMNS.items()})


def by_name(found: Mapping[Fact, int]) -> dict[str, int]:
    """What arrived, under short names."""
    return {name: found[fact] for name, fact in _COLUMNS.items()}


def has_all(found: Counter[Fact], tally: Tally) -> bool:
    """Whether everything that was accepted is recorded, or in quarantine."""
    expected = tally.expected()
    return all(
        found[fact] >= expected[fact]
        for fact in (CLICKS, TESTS, LEADS, REPEATS, QUARANTINED)
    )


def growth(before: Sequence[Link], after: Sequence[Link]) -> Counter[Fact]:
    """By how much the counters of links grew, by fact."""
    earlier = {link.code: link for link in before}
    grown: Counter[Fact] = Counter()
    for link in after:
        then = earlier[link.code]
        grown[clicks_of(link.code)] = link.clicks - then.clicks
        grown[bots_of(link.code)] = link.bot_clicks - then.bot_clicks
        grown[COUNTED_LEADS] += link.leads - then.leads
    return grown


def compare(found: Mapping[Fact, int], tally: Tally) -> list[Check]:
    """Every fact that is expected or found, and those of which there must be none."""
    expected, more = tally.expected(), tally.doubtful()
    named = dict.fromkeys((*ALWAYS, *expected, *found))
    return [
        Check(fact, expected[fact], expected[fact] + more[fact], found.get(fact, 0))
        for fact in named
    ]


def top_links(before: Sequence[Link], after: Sequence[Link]) -> list[dict[str, Any]]:
    """The links that grew most, by what they counted in the run."""
    earlier = {link.code: link for link in before}
    grown: list[dict[str, Any]] = [
        {
            "code": link.code,
            "clicks": link.clicks - earlier[link.code].clicks,
            "bots": link.bot_clicks - earlier[link.code].bot_clicks,
            "duplicates": link.duplicate_clicks - earlier[link.code].duplicate_clicks,
            "leads": link.leads - earlier[link.code].leads,
        }
        for link in after
    ]
    grown = [row for row in grown if row["clicks"] or row["leads"]]
    return sorted(grown, key=lambda row: (-row["clicks"], row["code"]))[:_SHOWN]


async def people(connection: Connection, run: Run) -> dict[str, list[dict[str, Any]]]:
    """Where the run's people were, and what they held, by the most frequent."""
    found: dict[str, list[dict[str, Any]]] = {
        "countries": [],
        "browsers": [],
        "devices": [],
        "referrers": [],
    }
    for row in await rows(connection, _SQL["seen"], run.first_id, run.mark, _SHOWN):
        found[row["what"]].append(
            {"name": row["name"] or None, "clicks": row["clicks"]}
        )
    return found


_COLUMNS: Final = {
    "clicks": CLICKS,
    "bots": BOTS,
    "tests": TESTS,
    "leads": LEADS,
    "repeats": REPEATS,
    "quarantined": QUARANTINED,
}
