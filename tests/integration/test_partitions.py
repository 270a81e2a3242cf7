"""Months that are detached count as before, whoever dies and whoever writes meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import count
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs
from uuid_utils.compat import uuid7

from ingest.contracts.envelope import Dedupe, Envelope, encode
from scripts import partitions
from scripts.partitions import Month, Step
from tests.reftide import Cli, servers_of
from tests.replaying import Site
from tests.working import STREAM
from tests.world import (
    LINKS,
    NOON_MS,
    PARTNERS,
    WORKSPACE,
    a_click,
    a_lead,
    a_sale,
    an_id,
    furnish,
    miscounted,
)
from workers.batch import Delivery, Entry
from workers.connections import for_jobs
from workers.database import Pool, open_pool
from workers.enrich import build_enrichers
from workers.pipeline import Pipeline
from workers.publish import publish_changes
from workers.redrive.redriving import Redriver

DAY_MS = 24 * 3600 * 1000
APRIL, MAY = NOON_MS + 30 * DAY_MS, NOON_MS + 60 * DAY_MS
_ENRICH = build_enrichers(None)
_ENTRIES = count()


@pytest.fixture
async def site(redis_url: str, database_url: str) -> AsyncIterator[Site]:
    async with (
        for_jobs(redis_url) as redis,
        open_pool(database_url, size=6) as pool,
    ):
        async with pool.acquire() as connection:
            await furnish(connection)
            await connection.execute("insert into stream_epochs (shard) values (0)")
        yield Site(redis, pool, redis_url, database_url)


@pytest.fixture
def cli(redis_url: str, database_url: str) -> Cli:
    made = servers_of(redis_url, database_url)
    return Cli({**made.variables, "REFTIDE_SHARDS": "1"})


def pipeline(pool: Pool) -> Pipeline:
    return Pipeline(
        pool=pool,
        enrich=_ENRICH,
        consumer="tester",
        clock=lambda: NOON_MS + 400 * DAY_MS,
        new_id=uuid7,
    )


def delivered(*events: Envelope) -> list[Delivery]:
    return [
        Delivery(Entry.of(1, 0, NOON_MS, next(_ENTRIES)), encode(event))
        for event in events
    ]


async def record(pool: Pool, *events: Envelope) -> None:
    deliveries = delivered(*events)
    assert deliveries == await pipeline(pool).process(deliveries)


def a_history() -> list[Envelope]:
    """Clicks, leads and sales in three months, some of them across their ends."""
    events: list[Envelope] = []
    numbers = count(1)
    for at in (NOON_MS, APRIL, MAY):
        for link in LINKS[:4]:
            click = a_click(next(numbers), at=at, link_id=link, session="s")
            who = {"click_id": click.id, "external_id": f"c{next(numbers)}"}
            lead = a_lead(next(numbers), at=at + 9, link_id=link, session="s", **who)
            events += [click, lead, a_sale(next(numbers), at=at + 20 * DAY_MS, **who)]
    return events


async def counters(pool: Pool) -> list[list[tuple[Any, ...]]]:
    """All counters, in some order."""
    tables = (
        "(select id, clicks, leads, sales from links)", "program_partners", "link_days",
        "link_amounts", "program_partner_amounts",
    )  # fmt: skip
    async with pool.acquire() as connection:
        return [
            sorted(
                tuple(row)
                for row in await connection.fetch(f"select t::text from {table} as t")  # noqa: S608 -- names of ours
            )
            for table in tables
        ]


async def months(pool: Pool) -> list[Month]:
    async with pool.acquire() as connection:
        found = await partitions.months(connection)
    return [month for month in found if month.name < "events_2026"]


async def states(pool: Pool) -> list[str]:
    return [month.state for month in await months(pool)]


async def is_right(site: Site) -> None:
    """Counters and books agree with rows and with what was folded."""
    async with site.pool.acquire() as connection:
        assert [] == await miscounted(connection)
    report = await site.proven()
    assert (True, True, 0) == (report["ok"], report["settled"], report["balance"])


class Killed(Exception):
    """What stands for SIGKILL: the connection is gone too."""


def killing(at: str) -> Callable[[Step], None]:
    def boundary(step: Step) -> None:
        if step == at:
            raise Killed(step)

    return boundary


async def detach_one(site: Site, boundary: Callable[[Step], None]) -> None:
    """Detach the oldest month, on a connection that ends with it."""
    connection = await asyncpg.connect(site.database_url)
    try:
        [month, *_] = await partitions.months(connection)
        await partitions.detach(connection, site.redis, 1, month, boundary)
    finally:
        connection.terminate()


# What stays, and what is refused -----------------------------------------------------------


async def test_months_are_detached_and_attached_and_no_counter_changes(
    site: Site, cli: Cli
) -> None:
    await record(site.pool, *a_history())
    before = await counters(site.pool)

    done = await asyncio.to_thread(
        cli.document, "partitions", "detach", "--before", "2025-05"
    )

    taken = {one["partition"]: one["events"] for one in done["detached"]}
    # A sale is twenty days after its click.
    assert {"events_202503": 12, "events_202504": 12} == taken
    assert 12 == await site.value("select count(*) from events")
    assert before == await counters(site.pool)
    await is_right(site)
    assert ["detached", "detached", "attached"] == (await states(site.pool))[:3]

    back = await asyncio.to_thread(
        cli.document, "partitions", "attach", "--from", "2025-03"
    )

    assert ["events_202504", "events_202503"] == [
        one["partition"] for one in back["attached"]
    ]
    assert back["horizon"] is None
    assert 36 == await site.value("select count(*) from events")
    assert 0 == await site.value("select count(*) from counter_base")
    assert before == await counters(site.pool)
    await is_right(site)


async def test_what_comes_late_is_quarantined_until_its_month_is_attached(
    site: Site, cli: Cli
) -> None:
    await record(site.pool, a_click(1), a_click(2, at=APRIL))
    await asyncio.to_thread(cli.document, "partitions", "detach", "--before", "2025-04")

    await record(site.pool, a_click(3), a_click(4, at=APRIL))
    await site.value(
        "update quarantine set redrive_at = now(), look_at = null where reason = 'unstorable'"
    )
    await Redriver.beside(pipeline(site.pool)).work()

    assert [("unstorable", 2)] == await _rows(
        site.pool, "select reason::text, attempts from quarantine"
    )
    assert "the partition events_202503 is detached" in await site.value(
        "select detail from quarantine"
    )
    await is_right(site)

    await asyncio.to_thread(cli.document, "partitions", "attach", "--from", "2025-03")
    await site.value("update quarantine set redrive_at = now()")
    await Redriver.beside(pipeline(site.pool)).work()

    assert 4 == await site.value("select clicks from links where id = $1", LINKS[0])
    await is_right(site)


async def test_a_month_whose_table_was_dropped_is_not_made_anew(
    site: Site, cli: Cli
) -> None:
    await record(site.pool, a_click(1), a_click(2, at=APRIL))
    await asyncio.to_thread(cli.document, "partitions", "detach", "--before", "2025-04")
    await site.value("drop table events_202503")

    await record(site.pool, a_click(1), a_click(3, at=NOON_MS - 90 * DAY_MS))

    assert 2 == await site.value("select count(*)::int from quarantine")
    assert 2 == await site.value("select clicks from links where id = $1", LINKS[0])
    refused = await asyncio.to_thread(
        cli.run, "partitions", "attach", "--from", "2025-03"
    )
    assert (2, True) == (refused.code, "events_202503 is gone" in refused.err)
    [first, *_] = (await asyncio.to_thread(cli.document, "partitions", "list"))[
        "partitions"
    ]
    assert ("2025-03", "gone", 1) == (first["month"], first["state"], first["events"])
    await is_right(site)


async def test_who_asks_after_an_event_of_a_detached_month_is_told(
    site: Site, cli: Cli
) -> None:
    await record(site.pool, a_click(1), a_click(2, at=APRIL))
    await asyncio.to_thread(cli.document, "partitions", "detach", "--before", "2025-04")

    said = await asyncio.to_thread(cli.run, "event", str(an_id(1)))

    assert (1, True) == (said.code, "Its month is detached" in said.out)


async def test_a_replay_refuses_what_is_below_the_horizon(site: Site, cli: Cli) -> None:
    await record(site.pool, a_click(1), a_click(2, at=APRIL))
    await asyncio.to_thread(cli.document, "partitions", "detach", "--before", "2025-04")
    await site.add(a_click(1))
    await site.skip()

    done = await site.replay("reprocess")

    assert {"scanned": 1, "refused": 1} == done
    said = await asyncio.to_thread(
        cli.run, "replay", "--from", "2025-03-10", "--to", "2025-03-11"
    )
    assert (2, True) == (said.code, "until 2025-04-01 are detached" in said.err)


async def test_what_a_detached_click_earned_stays_earned(site: Site, cli: Cli) -> None:
    click = a_click(1, link_id=LINKS[0])
    who = {"click_id": click.id, "external_id": "someone"}
    await record(
        site.pool, click, a_lead(2, at=NOON_MS + 9, **who), a_sale(3, at=APRIL, **who)
    )
    await asyncio.to_thread(cli.document, "partitions", "detach", "--before", "2025-04")
    before = await _rows(
        site.pool, "select points_to from customers where id = $1", click.id
    )

    # Everything that is said of the customer is looked at again.
    await record(
        site.pool, a_sale(4, at=MAY, **who), a_click(5, at=MAY, click_id=click.id)
    )

    assert [(LINKS[0], click.id)] == await _rows(
        site.pool,
        "select link_id, attributed_id from events where id = $1",
        an_id(3, APRIL),
    )
    assert before == await _rows(
        site.pool, "select points_to from customers where id = $1", click.id
    )
    assert before[0][0] is not None
    await is_right(site)


async def test_a_detached_lead_keeps_its_claim(site: Site, cli: Cli) -> None:
    dedupe = Dedupe("lead", b"k" * 16)
    await record(
        site.pool, a_lead(1, dedupe=dedupe, link_id=LINKS[0], external_id=None)
    )
    await asyncio.to_thread(cli.document, "partitions", "detach", "--before", "2025-04")

    # Taken later, and said to have happened earlier.
    said = {"dedupe": dedupe, "link_id": LINKS[0], "external_id": None}
    await record(site.pool, a_lead(2, at=NOON_MS - 5, id=an_id(2, APRIL), **said))

    assert 1 == await site.value("select leads from links where id = $1", LINKS[0])
    assert 1 == await site.value("select sum(repeats)::int from ledger")
    await is_right(site)


async def test_what_partners_are_told_stays(site: Site, cli: Cli) -> None:
    await site.value("update programs set has_stats = true")
    await record(site.pool, *a_history())
    before = await _stats(site)

    await asyncio.to_thread(cli.document, "partitions", "detach", "--before", "2025-04")

    assert before == await _stats(site)
    assert 6 == before[0]["conversions"]


async def _stats(site: Site) -> list[dict[str, Any]]:
    from workers.sql import statements  # noqa: PLC0415 -- the statement itself is looked at

    async with site.pool.acquire() as connection:
        await publish_changes(connection, site.redis)
        codes = [f"prt{partner.int}" for partner in PARTNERS]
        found = await connection.fetch(
            statements("publish")["stats_find"], [WORKSPACE] * 2, codes
        )
    return sorted((dict(row) for row in found), key=str)


# Whoever dies ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "state"),
    [("closed", "closed"), ("folded", "folded"), ("detached", "detached")],
)
async def test_killed_after_a_step_the_sums_are_right_and_it_goes_on(
    site: Site, cli: Cli, step: str, state: str
) -> None:
    await record(site.pool, *a_history())
    before = await counters(site.pool)

    with pytest.raises(Killed):
        await detach_one(site, killing(step))

    assert state == (await states(site.pool))[0]
    await is_right(site)
    # Late ones are refused from the first step on.
    await record(site.pool, a_click(99))
    assert 1 == await site.value("select count(*)::int from quarantine")
    assert before == await counters(site.pool)

    shown = await asyncio.to_thread(cli.run, "partitions", "list")
    assert (state != "detached") == ("half-way" in shown.out)
    await asyncio.to_thread(cli.document, "partitions", "detach", "--before", "2025-04")
    assert "detached" == (await states(site.pool))[0]
    assert before == await counters(site.pool)
    await is_right(site)


@pytest.mark.parametrize("step", ["closed", "folded", "detached"])
async def test_a_month_is_put_back_from_wherever_it_stands(
    site: Site, cli: Cli, step: str
) -> None:
    await record(site.pool, *a_history())
    before = await counters(site.pool)
    with pytest.raises(Killed):
        await detach_one(site, killing(step))

    await asyncio.to_thread(cli.document, "partitions", "attach", "--from", "2025-03")

    assert {"attached"} == set(await states(site.pool))
    assert before == await counters(site.pool)
    await record(site.pool, a_click(99))
    assert 0 == await site.value("select count(*)::int from quarantine")
    await is_right(site)


async def test_killed_between_attaching_and_counting_it_counts_once(
    site: Site, cli: Cli
) -> None:
    await record(site.pool, *a_history())
    before = await counters(site.pool)
    await detach_one(site, lambda _: None)
    [month, *_] = await months(site.pool)

    async with site.pool.acquire() as connection:
        with pytest.raises(Killed):
            await partitions.attach(connection, month, killing("attached"))

    await is_right(site)
    await asyncio.to_thread(cli.document, "partitions", "attach", "--from", "2025-03")
    assert before == await counters(site.pool)
    await is_right(site)


async def test_killed_in_the_middle_of_detaching_it_is_ended_later(
    site: Site, cli: Cli
) -> None:
    await record(site.pool, *a_history())
    reader = await asyncpg.connect(site.database_url)
    ours = await asyncpg.connect(site.database_url)
    [month, *_] = await months(site.pool)
    async with reader.transaction(isolation="repeatable_read"):
        await reader.fetch("select count(*) from events")
        pid = ours.get_server_pid()
        detaching = asyncio.ensure_future(partitions.detach(ours, site.redis, 1, month))
        await _until(
            site, "select inhdetachpending from pg_inherits where inhdetachpending"
        )
        await site.value("select pg_terminate_backend($1)", pid)
        with pytest.raises(asyncpg.PostgresError):
            await detaching
        await is_right(site)
    await reader.close()

    assert "folded" == (await states(site.pool))[0]
    await asyncio.to_thread(cli.document, "partitions", "detach", "--before", "2025-04")
    assert "detached" == (await states(site.pool))[0]
    await is_right(site)


# Whoever writes ----------------------------------------------------------------------------


async def test_workers_write_on_while_a_month_goes_and_comes_back(
    site: Site, cli: Cli
) -> None:
    await record(site.pool, *a_history())
    stop = asyncio.Event()
    written: list[int] = []

    async def write(worker: int) -> None:
        numbers = count(1000 * (worker + 1))
        while not stop.is_set():
            # Stragglers, and leads whose customers have rows in the month.
            number = next(numbers)
            who = {"external_id": f"c{number % 40}"}
            batch = [
                a_click(number, at=NOON_MS + number, link_id=LINKS[number % 4]),
                a_lead(next(numbers), at=MAY + number, **who),
                a_click(next(numbers), at=MAY, click_id=an_id(1), link_id=LINKS[1]),
            ]
            await record(site.pool, *batch)
            written.append(len(batch))

    # What workers say would stand among what commands print.
    with capture_logs():
        async with asyncio.TaskGroup() as group:
            for worker in range(2):
                group.create_task(write(worker))
            for _ in range(2):
                for words in (("detach", "--before"), ("attach", "--from")):
                    month = "2025-04" if words[0] == "detach" else "2025-03"
                    await asyncio.to_thread(cli.document, "partitions", *words, month)
                    async with site.pool.acquire() as connection:
                        assert [] == await miscounted(connection)
            await asyncio.to_thread(
                cli.document, "partitions", "detach", "--before", "2025-04"
            )
            stop.set()

    await is_right(site)
    booked = await site.value("select sum(recorded + quarantined)::int from ledger")
    assert 36 + sum(written) == booked
    refused = (
        "select count(*)::int from quarantine where detail not like '%is detached%'"
    )
    assert 0 == await site.value(refused)


# What cannot be ----------------------------------------------------------------------------


def test_a_month_whose_clicks_may_still_earn_stays(cli: Cli) -> None:
    refused = cli.run("partitions", "detach", "--before", "2026-11")

    assert (2, True) == (refused.code, "may still earn leads" in refused.err)
    assert "--before 2026-09" in refused.err


async def test_a_month_that_streams_still_hold_stays_open(site: Site, cli: Cli) -> None:
    await site.add(a_click(1), a_click(2, at=APRIL))
    await site.record()

    refused = await asyncio.to_thread(
        cli.run, "partitions", "detach", "--before", "2025-04"
    )

    assert (2, True) == (refused.code, "streams may still hold" in refused.err)
    assert "attached" == (await states(site.pool))[0]
    await site.redis.xtrim(STREAM, maxlen=0)
    await asyncio.to_thread(cli.document, "partitions", "detach", "--before", "2025-04")
    assert "detached" == (await states(site.pool))[0]


async def test_what_was_detached_by_hand_is_attached_first(
    site: Site, cli: Cli
) -> None:
    await record(site.pool, a_click(1), a_click(2, at=APRIL))
    await site.value("alter table events detach partition events_202503")

    refused = await asyncio.to_thread(
        cli.run, "partitions", "detach", "--before", "2025-04"
    )
    shown = await asyncio.to_thread(cli.run, "partitions", "list")
    await asyncio.to_thread(cli.document, "partitions", "attach", "--from", "2025-03")

    assert (2, True) == (refused.code, "detached by hand" in refused.err)
    assert "partitions attach --from 2025-03" in shown.out
    await is_right(site)


async def test_a_month_that_was_away_while_the_schema_grew_is_aligned(
    site: Site, cli: Cli
) -> None:
    await record(site.pool, a_click(1), a_click(2, at=APRIL))
    await asyncio.to_thread(cli.document, "partitions", "detach", "--before", "2025-04")
    await site.value("alter table events add column added text not null default 'x'")
    await site.value("alter table events_202503 alter column entry_seq type integer")

    await asyncio.to_thread(cli.document, "partitions", "attach", "--from", "2025-03")

    assert ["x", "x"] == await site.value("select array_agg(added) from events")
    await is_right(site)


def test_a_month_is_written_as_one(cli: Cli) -> None:
    assert 2 == cli.run("partitions", "detach", "--before", "2025-13").code
    nothing = cli.run("partitions", "detach", "--before", "2020-01")
    assert (0, True) == (nothing.code, "nothing to do" in nothing.out)


async def _rows(pool: Pool, query: str, *values: object) -> Sequence[tuple[Any, ...]]:
    async with pool.acquire() as connection:
        return [tuple(row) for row in await connection.fetch(query, *values)]


async def _until(site: Site, query: str) -> None:
    async with asyncio.timeout(10):
        while not await site.value(query):
            await asyncio.sleep(0.02)
