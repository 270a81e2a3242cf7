"""`reftide stats`: its sums are those that `verify` compares."""

import asyncio
import csv
import re
from datetime import date
from io import StringIO
from typing import Any

import pytest

from scripts.services.find.stats import KEYS, REPORTS
from tests.support.directory import (
    LINKS,
    NOON_MS,
    a_click,
    a_lead,
    a_sale,
    an_id,
    miscounted,
)
from tests.support.servers.cli import Cli
from tests.support.workers.facets import make
from tests.support.workers.recording import MANY_CLICKS, record
from workers.counters.rule import NAMES
from workers.postgres.database import Pool

DAY_MS = 24 * 3600 * 1000


async def _stats(cli: Cli, *arguments: str) -> Any:
    return await asyncio.to_thread(cli.document, "stats", *arguments)


@pytest.fixture
async def busy(pool: Pool) -> Pool:
    """Three days: clicks on two links, one of them of a bot, a lead, and two sales."""
    clicks = [
        a_click(number, at=NOON_MS + number * DAY_MS, link_id=LINKS[number % 2])
        for number in range(3)
    ]
    await record(
        pool,
        *clicks,
        a_click(7, at=NOON_MS, user_agent="curl/8.0"),
        a_click(8, at=NOON_MS, is_test=True),
        a_lead(4, at=NOON_MS + 1, click_id=clicks[0].id),
        a_sale(5, at=NOON_MS + 2),
        a_sale(6, at=NOON_MS + DAY_MS, amount=100, currency="EUR"),
        now=NOON_MS + 4 * DAY_MS,
    )
    await make(pool)
    assert [] == await miscounted(pool)
    return pool


@pytest.mark.parametrize("by", KEYS)
@pytest.mark.parametrize(
    "dates", [(), ("--since", "2025-03-01", "--until", "2025-04-01")]
)
async def test_every_way_to_sum_up_comes_to_the_counters_of_links(
    busy: Pool, cli: Cli, by: str, dates: tuple[str, ...]
) -> None:
    sums = ", ".join(f"sum({name})::bigint as {name}" for name in NAMES)
    counters = dict(await busy.fetchrow(f"select {sums} from links"))  # noqa: S608 -- names of ours

    found = await _stats(cli, "--by", by, *dates)

    assert counters == found["total"]
    assert counters == {name: sum(row[name] for row in found["rows"]) for name in NAMES}
    assert (4, 1, 2) == tuple(counters[name] for name in ("clicks", "leads", "sales"))


@pytest.mark.parametrize("by", ["partner", "program"])
async def test_rows_of_all_time_come_to_the_counters(
    busy: Pool, cli: Cli, by: str
) -> None:
    counted = await _stats(cli, "--by", by)
    summed = await _stats(cli, "--by", by, "--since", "2020-01-01")

    used = [row for row in counted["rows"] if any(row[name] for name in NAMES)]
    assert used == summed["rows"]
    assert ["EUR 100", "USD 4900"] == used[0]["amounts"]


async def test_days_are_the_latest_first_and_end_with_that_of_until(
    busy: Pool, cli: Cli
) -> None:
    found = await _stats(cli, "--by", "day", "--until", "2025-03-11T03:00")

    assert [("2025-03-11", 1, 1), ("2025-03-10", 2, 1)] == [
        (row["day"], row["clicks"], row["sales"]) for row in found["rows"]
    ]
    links = await _stats(cli, "--since", "2025-03-11", "--until", "2025-03-11")
    assert [("L1", 1), ("L0", 0)] == [
        (row["link"], row["clicks"]) for row in links["rows"]
    ]


async def test_months_that_are_detached_keep_their_facets(busy: Pool, cli: Cli) -> None:
    before = await _stats(cli, "--by", "partner", "--since", "2025-03-11")
    done = await asyncio.to_thread(
        cli.run, "partitions", "detach", "--before", "2025-04"
    )
    assert 0 == done.code, done.err

    assert before == await _stats(cli, "--by", "partner", "--since", "2025-03-11")
    devices = await _stats(cli, "--by", "device")
    assert [(None, 3, ["EUR 100", "USD 4900"]), ("bot", 1, [])] == [
        (row["device"], row["clicks"], row["amounts"] or []) for row in devices["rows"]
    ]


async def test_a_workspace_sees_its_own(busy: Pool, cli: Cli) -> None:
    for by in KEYS:
        theirs = await _stats(cli, "--by", by, "--workspace", "elsewhere")
        assert 0 == theirs["total"]["clicks"], by
        ours = await _stats(cli, "--by", by, "--workspace", "here")
        assert 4 == ours["total"]["clicks"], by


async def test_the_total_is_over_more_than_is_listed(busy: Pool, cli: Cli) -> None:
    found = await _stats(cli, "--limit", "1")

    assert ["L0"] == [row["link"] for row in found["rows"]]
    assert 4 == found["total"]["clicks"]


async def test_people_read_a_table_and_spreadsheets_csv(busy: Pool, cli: Cli) -> None:
    shown = await asyncio.to_thread(cli.run, "stats", "--by", "partner")
    listed = await asyncio.to_thread(cli.run, "stats", "--by", "partner", "--csv")

    assert "total" in shown.out
    first, *_ = csv.DictReader(StringIO(listed.out))
    assert ("prt33", "here", "3", "EUR 100, USD 4900") == tuple(
        first[name] for name in ("partner", "workspace", "clicks", "amounts")
    )


@pytest.mark.parametrize("by", ["partner", "program"])
async def test_sums_of_a_time_read_what_happened_then(pool: Pool, by: str) -> None:
    await record(pool, a_click(1))
    await pool.execute(MANY_CLICKS)
    await pool.execute("vacuum analyze events")
    hours = (date(2025, 3, 11), date(2025, 3, 12))

    async with pool.acquire() as connection:
        await connection.execute("set plan_cache_mode = force_custom_plan")
        plan = await connection.fetch(
            f"explain {REPORTS[by, True]}", None, *hours, 100, an_id(0)
        )

    lines = "\n".join(row[0] for row in plan)
    assert not re.search(r"Seq Scan on events_2025", lines), lines
    assert "at_recorded_at" in lines
