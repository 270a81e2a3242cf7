"""`reftide reconcile`: counters that somebody spoilt are right again, also under traffic."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from uuid import UUID, uuid4

import asyncpg
import pytest

from ingest.contracts.encoding.envelopes import encode
from scripts.environment import Environment
from scripts.errors import UsageProblem
from scripts.services.recover.reconcile import reconcile
from tests.support.directory import (
    LAST_CLICK,
    LINKS,
    NOON_MS,
    PARTNERS,
    a_click,
    a_lead,
    a_sale,
    an_id,
    furnish,
    miscounted,
)
from tests.support.servers.cli import Cli
from workers.enrich import build_enrichers
from workers.model.batch import Delivery, Entry
from workers.pipeline.pipeline import Pipeline
from workers.postgres.database import Connection, Pool, open_pool

_ENRICH = build_enrichers(None)
_NUMBERS = count(1)

#: What no worker would write; one row each, so that nobody is waited for in a circle.
_SPOILT = (
    "update links set clicks = clicks + 7, bot_clicks = 3, leads = 0 where id = $1",
    "delete from link_days where link_id = $1",
    """insert into link_days (link_id, day, clicks) values ($1, '2020-01-01', 5)
       on conflict (link_id, day) do update set clicks = link_days.clicks + 5""",
    """delete from program_partners where (program_id, partner_id) in
       (select program_id, partner_id from links where id = $1)""",
    "delete from link_amounts where link_id = $1",
    """update program_partner_amounts set amount = amount * 2 where (program_id, partner_id)
       in (select program_id, partner_id from links where id = $1)""",
)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, size=6) as pool:
        async with pool.acquire() as connection:
            await furnish(connection)
        yield pool


def _environment(url: str) -> Environment:
    return Environment({"REDIS_URL": "redis://unused", "DATABASE_URL": url}, lambda: 0)


def _deliveries(size: int) -> list[Delivery]:
    """Clicks on every link, a lead and a sale of some of them."""
    found = []
    for _ in range(size):
        number = next(_NUMBERS)
        envelope = a_click(number, link_id=LINKS[number % 5])
        if number % 3 == 1:
            click, link = an_id(number - 1), LINKS[(number - 1) % 5]
            make = a_lead if number % 2 else a_sale
            who = f"user-{number}"
            envelope = make(number, click_id=click, link_id=link, external_id=who)
        found.append(Delivery(Entry(1, 0, NOON_MS, number), encode(envelope)))
    return found


async def _work(pool: Pool, consumer: str, stop: asyncio.Event | None = None) -> None:
    pipeline = Pipeline(
        pool=pool,
        enrich=_ENRICH,
        consumer=consumer,
        clock=lambda: NOON_MS,
        new_id=uuid4,
    )
    while True:
        # A deadlock is Trouble, and ends the test.
        await pipeline.process(_deliveries(20))
        if stop is None or stop.is_set():
            return


@asynccontextmanager
async def _working(pool: Pool) -> AsyncIterator[None]:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for consumer in ("w1", "w2", "w3", "w4"):
            group.create_task(_work(pool, consumer, stop))
        yield
        stop.set()


async def _spoil(connection: Connection, link: UUID = LINKS[0]) -> None:
    for statement in _SPOILT:
        await connection.execute(statement, link)


async def test_what_was_spoilt_is_right_again_and_reported(
    pool: Pool, database_url: str
) -> None:
    await _work(pool, "w1")
    async with pool.acquire() as connection:
        await _spoil(connection)
        wrong = await miscounted(connection)

        report = await reconcile(_environment(database_url), dry_run=False)

        assert not await miscounted(connection)
    assert len(wrong) == report["repaired_count"]
    assert {row["key"] for row in wrong} == {row["key"] for row in report["repaired"]}
    assert 0 == report["left_count"]


async def test_a_dry_run_says_what_is_wrong_and_leaves_it(
    pool: Pool, database_url: str
) -> None:
    await _work(pool, "w1")
    async with pool.acquire() as connection:
        await _spoil(connection)
        wrong = await miscounted(connection)

        report = await reconcile(_environment(database_url), dry_run=True)

        assert wrong == await miscounted(connection)
    assert len(wrong) == report["found_count"]


async def test_nothing_that_workers_count_meanwhile_is_lost(
    pool: Pool, database_url: str
) -> None:
    repaired = 0
    async with _working(pool):
        for at in range(6):
            async with pool.acquire() as connection:
                await _spoil(connection, LINKS[at % 5])
            report = await reconcile(_environment(database_url), dry_run=False)
            repaired += report["repaired_count"]
            assert 0 == report["left_count"]

    assert repaired > 6
    async with pool.acquire() as connection:
        assert not await miscounted(connection)


async def test_folded_partitions_count_too(pool: Pool, database_url: str) -> None:
    async with pool.acquire() as connection:
        await connection.execute(
            "insert into counter_base (link_id, program_id, partner_id, day, clicks)"
            " values ($1, $2, $3, '2024-01-01', 11)",
            LINKS[0],
            LAST_CLICK,
            PARTNERS[0],
        )

        await reconcile(_environment(database_url), dry_run=False)

        assert 11 == await connection.fetchval(
            "select clicks from links where id = $1", LINKS[0]
        )
        # Facets of a folded month come of its rows, and there were none.
        wrong = await miscounted(connection)
        assert {"facet"} == {row["what"] for row in wrong}


async def test_what_belongs_to_a_link_that_is_gone_is_left_and_said(
    pool: Pool, database_url: str
) -> None:
    await _work(pool, "w1")
    async with pool.acquire() as connection:
        await connection.execute("delete from links where id = $1", LINKS[4])

        report = await reconcile(_environment(database_url), dry_run=False)

    assert {"link"} == {row["what"] for row in report["left"]}
    assert {str(LINKS[4])} == {row["key"] for row in report["left"]}


async def test_two_do_not_repair_at_once(database_url: str) -> None:
    other = await asyncpg.connect(database_url)
    await other.execute("select pg_advisory_lock(hashtext('reftide reconcile'))")

    with pytest.raises(UsageProblem, match="at work"):
        await reconcile(_environment(database_url), dry_run=False)

    await other.close()


def test_the_command_says_it_by_its_exit_code(database_url: str) -> None:
    cli = Cli({"REDIS_URL": "redis://unused", "DATABASE_URL": database_url})
    cli.fetch(
        "insert into link_days (link_id, day, clicks) values ($1, '2020-01-01', 5)",
        LINKS[0],
    )

    codes = [
        cli.run("reconcile", *options).code
        for options in (("--dry-run", "--json"), ("--json",), ("--dry-run",), ())
    ]

    assert [1, 0, 0, 0] == codes
