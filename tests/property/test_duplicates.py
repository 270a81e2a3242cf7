"""Duplicate clicks are a function of the rows: in any order, any cut, by several workers."""

import random
from bisect import insort
from collections.abc import AsyncIterator, Sequence
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.contracts.envelope import Envelope
from tests.property.test_any_order import _deliveries, _play
from tests.support.directory import LINKS, NOON_MS, a_click, an_id, furnish
from tests.support.examples import examples
from workers.postgres.database import Pool, open_pool
from workers.visits.windows import (
    HOUR_MS,
    Answer,
    Click,
    Lookup,
    Lookups,
    Timeline,
    windows_of,
)

_MINUTE_MS = 60_000
#: Dense enough for chains of windows, and across the bounds of quarters of a day.
_TIMES = st.integers(-14, 28).map(lambda step: NOON_MS + step * 15 * _MINUTE_MS)
_CLICKS = st.lists(_TIMES, min_size=1, max_size=14).map(
    lambda times: [Click(at, an_id(number, at)) for number, at in enumerate(times)]
)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, size=5) as pool:
        async with pool.acquire() as connection:
            await furnish(connection)
        yield pool


class Recorded:
    """The rows of one visitor on one link, kept by a timeline."""

    def __init__(self) -> None:
        self.clicks: list[Click] = []
        self.duplicates: set[UUID] = set()
        self._windows: list[Click] = []

    def arrive(self, click: Click) -> None:
        timeline = self._timeline()
        self._run(timeline, timeline.arrive(click))
        if timeline.is_duplicate(click):
            self.duplicates.add(click.id)
        insort(self.clicks, click)

    def leave(self, click: Click) -> None:
        self.clicks.remove(click)
        self.duplicates.discard(click.id)
        timeline = self._timeline()
        self._run(timeline, timeline.leave(click))

    def _timeline(self) -> Timeline:
        timeline = Timeline()
        timeline.load(self._windows)
        return timeline

    def _run(self, timeline: Timeline, steps: Lookups) -> None:
        lookup = next(steps, None)
        while lookup is not None:
            try:
                lookup = steps.send(self._answer(lookup))
            except StopIteration:
                break
        self._windows = timeline.windows
        for event_id, is_duplicate in timeline.flips.items():
            (self.duplicates.add if is_duplicate else self.duplicates.remove)(event_id)

    def _answer(self, lookup: Lookup) -> Answer:
        span = (
            click
            for click in self.clicks
            if lookup.low_ms <= click.at_ms < lookup.high_ms
            and click.id in self.duplicates
        )
        return Answer(next(span, None))


def _rule(clicks: Sequence[Click]) -> set[UUID]:
    """The duplicates among clicks, told one after the other."""
    found, window = set(), None
    for click in sorted(clicks):
        if window is not None and click.at_ms - window.at_ms < HOUR_MS:
            found.add(click.id)
        else:
            window = click
    return found


@given(clicks=_CLICKS, data=st.data())
def test_clicks_that_come_and_go_leave_the_flags_of_those_that_are_there(
    clicks: list[Click], data: st.DataObject
) -> None:
    recorded = Recorded()
    for click in data.draw(st.permutations(clicks)):
        recorded.arrive(click)
        if data.draw(st.integers(0, 3)) == 0:
            recorded.leave(data.draw(st.sampled_from(recorded.clicks)))

        assert _rule(recorded.clicks) == recorded.duplicates


@given(clicks=_CLICKS)
def test_clicks_among_themselves_open_the_same_windows(clicks: list[Click]) -> None:
    windows = {click.id for click in windows_of(sorted(clicks))}

    assert _rule(clicks) == {click.id for click in clicks} - windows


@st.composite
def visits(draw: st.DrawFn) -> list[Envelope]:
    """Clicks of two visitors on two links, many of them within an hour of others."""
    clicks = draw(_CLICKS)
    return [
        a_click(
            number,
            at=click.at_ms,
            link_id=draw(st.sampled_from(LINKS[:2])),
            visitor=draw(st.sampled_from((b"visitor1", b"visitor1", b"visitor2"))),
        )
        for number, click in enumerate(clicks)
    ]


@examples(40)
@given(events=visits(), seed=st.integers(0, 2**32), workers=st.sampled_from((1, 4)))
async def test_in_any_order_and_by_several_workers_the_flags_are_the_rows_to_say(
    pool: Pool, events: list[Envelope], seed: int, workers: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 -- shuffles, hides nothing

    books = await _play(pool, _deliveries(events, chance), workers=workers)

    visitors: dict[tuple[object, object], list[Click]] = {}
    for event in events:
        whose = visitors.setdefault((event.target.link_id, event.client.visitor), [])
        whose.append(Click(event.request.at, event.id))
    expected = set().union(*map(_rule, visitors.values()))
    assert expected == {row["id"] for row in books.events if row["is_duplicate"]}
