"""Clicks of one visitor on one link: which of them are duplicates, whatever comes when."""

from collections.abc import Sequence

import pytest

from ingest.contracts.envelope import PURPOSES, Dedupe, Envelope, Purpose
from scripts.services.maintain.schema import schema_text
from tests.support.directory import LINKS, NOON_MS, a_click, an_id, miscounted
from tests.support.workers.recording import (
    LATER_MS,
    a_delivery,
    a_pipeline,
    link_row,
    rows_of,
    value_of,
)
from tests.support.workers.recording import (
    record_later as record,
)
from workers.jobs.cleanup import sweep_visits
from workers.postgres.database import Pool

_MINUTE_MS = 60_000
_BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
_DAY_MS = 24 * 60 * _MINUTE_MS


def _visit(minutes: float, number: int | None = None, **said: object) -> Envelope:
    """A click of one visitor so many minutes after noon, which begins a quarter of a day."""
    at = NOON_MS + round(minutes * _MINUTE_MS)
    return a_click(
        number or round(minutes) % 10_000, at=at, visitor=b"visitor!", **said
    )


async def _flags(pool: Pool) -> str:
    """A letter for every click in the order of event time: whether it is a duplicate."""
    assert [] == await _wrong(pool)
    found = await rows_of(pool, "select is_duplicate from events order by at, id")
    return "".join("D" if is_duplicate else "." for (is_duplicate,) in found)


async def _wrong(pool: Pool) -> Sequence[object]:
    async with pool.acquire() as connection:
        return await miscounted(connection)


@pytest.mark.parametrize(
    ("minutes", "flags"),
    [
        ((10, 20, 69, 70, 71), ".DD.D"),
        # In another order of arrival.
        ((71, 70, 69, 20, 10), ".DD.D"),
        # A late click begins the window earlier, which ends earlier, too.
        ((40, 95, 30), ".D."),
        # A late click within a window changes nothing.
        ((40, 95, 60), ".DD"),
        # Across the bound of two quarters of a day, either way.
        ((-20, 10, 41), ".D."),
        ((10, 41, -20), ".D."),
        ((355, 385, 420), ".D."),
        ((420, 385, 355), ".D."),
    ],
)
async def test_clicks_within_an_hour_of_the_first_are_duplicates(
    pool: Pool, minutes: Sequence[int], flags: str
) -> None:
    for each in minutes:
        await record(pool, _visit(each))

    assert flags == await _flags(pool)
    assert flags.count("D") == (await link_row(pool))["duplicate_clicks"]


async def test_one_batch_flags_its_own_clicks(pool: Pool) -> None:
    await record(pool, *(_visit(each) for each in (100, 5, 30, 64, 65, 200)))

    assert ".DD.D." == await _flags(pool)


async def test_clicks_of_the_same_moment_are_told_apart_by_their_ids(
    pool: Pool,
) -> None:
    await record(pool, _visit(10, number=2))
    await record(pool, _visit(10, number=1))

    found = await rows_of(pool, "select id from events where is_duplicate")
    assert [(an_id(2, NOON_MS + 10 * _MINUTE_MS),)] == found


async def test_another_visitor_link_or_a_test_makes_no_duplicate(pool: Pool) -> None:
    await record(
        pool,
        _visit(1),
        _visit(2, link_id=LINKS[1]),
        _visit(3, is_test=True),
        a_click(4, at=NOON_MS + 4 * _MINUTE_MS, visitor=b"another!"),
        a_click(5, at=NOON_MS + 5 * _MINUTE_MS),
        a_click(6, at=NOON_MS + 6 * _MINUTE_MS),
    )

    assert "......" == await _flags(pool)


async def test_what_the_edge_says_of_a_duplicate_is_overruled_by_the_rows(
    pool: Pool,
) -> None:
    await record(pool, _visit(0, is_duplicate=True), _visit(70, is_duplicate=True))

    assert ".." == await _flags(pool)


async def test_without_a_visitor_what_the_edge_says_stays(pool: Pool) -> None:
    await record(pool, a_click(1, is_duplicate=True), a_click(2))

    assert ["D."] == [await _flags(pool)]


async def test_a_redelivered_batch_changes_nothing(pool: Pool) -> None:
    batch = [a_delivery(_visit(each)) for each in (10, 20, 80)]
    await a_pipeline(pool, now=LATER_MS).process(batch)
    before = await rows_of(pool, "select key, windows from visits order by key")

    await a_pipeline(pool, now=LATER_MS).process(batch)
    await a_pipeline(pool, now=LATER_MS).process(batch[1:])

    assert ".D." == await _flags(pool)
    assert before == await rows_of(pool, "select key, windows from visits order by key")


async def test_a_click_that_turns_out_to_be_earlier_moves_its_window(
    pool: Pool,
) -> None:
    key = Dedupe.of("affitor:click", "k")
    await record(pool, _visit(50, dedupe=key), _visit(105), _visit(115))
    assert ".D." == await _flags(pool)

    # The same event, as it was sent first.
    await record(pool, _visit(44, dedupe=key))

    assert "..D" == await _flags(pool)


async def test_a_late_click_moves_the_windows_of_days(pool: Pool) -> None:
    await record(pool, *(_visit(30 * number) for number in range(1, 108)))
    assert (".D" * 54)[:107] == await _flags(pool)

    await record(pool, _visit(0))

    assert ".D" * 54 == await _flags(pool)


async def test_clicks_of_closed_months_keep_their_flags(pool: Pool) -> None:
    await record(pool, _visit(30), _visit(80))
    await pool.execute(
        "select close_partition('events_202503', '2025-03-01', '2025-04-01')"
    )

    # Its id is of April, its time of March.
    late = an_id(1, NOON_MS + 30 * _DAY_MS)
    await record(pool, _visit(20, id=late))

    assert "..D" == await _flags(pool)


async def test_windows_go_with_clicks_that_are_not_compared_any_more(
    pool: Pool,
) -> None:
    await record(pool, _visit(0), _visit(10))

    # These happened in 2025.
    assert 2 == await sweep_visits(pool, batch=1)
    await record(pool, _visit(20), _visit(30, is_duplicate=True))

    assert ".D.D" == await _flags(pool)
    assert 0 == await value_of(pool, "select count(*) from visits")


async def test_a_database_that_has_events_begins_with_the_present(pool: Pool) -> None:
    await record(pool, _visit(0))
    await pool.execute("truncate visits, visits_since")
    await pool.execute(_first_quarter())

    await record(pool, _visit(10))

    assert ".." == await _flags(pool)
    assert 0 == await value_of(pool, "select count(*) from visits")


def _first_quarter() -> str:
    """What `schema.sql` says of a database that it upgrades."""
    text = schema_text()
    begin = text.index("insert into visits_since")
    return text[begin : text.index(";", begin)]


async def test_a_wrong_flag_is_found(pool: Pool) -> None:
    await record(pool, _visit(0), _visit(10))
    await pool.execute("update events set is_duplicate = not is_duplicate")

    [wrong] = [row for row in await _wrong(pool) if row["what"] == "click"]

    found = wrong["key"], wrong["counter"], wrong["expected"], wrong["found"]
    assert (str(an_id(0)), "is_duplicate", 0, 1) == found


@pytest.mark.parametrize("purpose", PURPOSES)
async def test_clicks_on_pages_not_shown_count_as_a_bots_and_open_no_window(
    pool: Pool, purpose: Purpose
) -> None:
    await record(
        pool,
        a_click(1, purpose=purpose, user_agent=_BROWSER),
        a_click(2, at=NOON_MS + 1000, visitor=b"visitor!", user_agent=_BROWSER),
    )

    link = await link_row(pool)
    assert (2, 1, 1) == (link["clicks"], link["bot_clicks"], link["unique_clicks"])
    query = "select is_bot, purpose, browser, is_duplicate from events order by at"
    assert [
        (True, purpose, "Firefox", False),
        (False, None, "Firefox", False),
    ] == await rows_of(pool, query)
    assert [] == await _wrong(pool)
