"""schema.sql: applied over itself, over its earlier versions, over data, and in a crowd."""

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import orjson
import pytest

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import Dedupe
from scripts.embedded import binaries
from scripts.environment import Environment
from scripts.errors import Unreachable
from scripts.servers import postgres
from scripts.services.maintain.schema import apply_schema, schema_text, upgrade
from tests.support.directory import (
    LINKS,
    NOON_MS,
    a_click,
    a_lead,
    an_id,
    furnish,
    miscounted,
)
from tests.support.schema_catalogue import catalogue
from workers.enrich import build_enrichers
from workers.model.batch import Delivery, Entry
from workers.pipeline.pipeline import Pipeline
from workers.postgres.database import Pool, open_pool

FOLDER = Path(__file__).parents[2] / "schema"
VERSIONS = sorted(path.stem for path in FOLDER.glob("v*.sql") if "." not in path.stem)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


def dumped(url: str, *options: str) -> str:
    done = subprocess.run(
        [binaries.postgres("pg_dump"), f"--dbname={url}", *options],
        capture_output=True,
        text=True,
        check=True,
    )
    # A guard against what a dump could do to psql; its key is drawn at random.
    return re.sub(r"^\\(un)?restrict .*\n", "", done.stdout, flags=re.MULTILINE)


def text_of(version: str) -> str:
    return (FOLDER / f"{version}.sql").read_text("utf-8")


async def tables(connection: asyncpg.Connection) -> list[str]:
    found = await connection.fetch(
        "select relname from pg_class where relkind in ('r', 'p')"
        " and relnamespace = 'public'::regnamespace and not relispartition"
    )
    return sorted(row["relname"] for row in found)


async def contents(connection: asyncpg.Connection) -> dict[str, list[Any]]:
    """Every table's rows by column name."""
    return {
        table: sorted(
            [
                orjson.loads(row[0])
                for row in await connection.fetch(f"select to_jsonb(t) from {table} t")  # noqa: S608 -- names of ours
            ],
            key=str,
        )
        for table in await tables(connection)
    }


# Over itself and over earlier versions --------------------------------------------------


async def test_applied_again_it_changes_nothing(empty_database: str) -> None:
    async with connected(empty_database) as connection:
        await connection.execute(schema_text())
        before = dumped(empty_database, "--schema-only")
        await connection.execute(schema_text())

    assert "CREATE TABLE public.events " in before
    assert before == dumped(empty_database, "--schema-only")


async def test_applied_again_it_leaves_every_row_as_it_is(database_url: str) -> None:
    async with connected(database_url) as connection:
        await connection.execute(text_of(f"{VERSIONS[-1]}.rows"))
        before = dumped(database_url)
        await connection.execute(schema_text())

    assert "SPRING" in before
    assert before == dumped(database_url)


def test_there_are_versions_to_come_from() -> None:
    assert VERSIONS
    assert all((FOLDER / f"{version}.rows.sql").exists() for version in VERSIONS)


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_earlier_version_becomes_equal_to_a_fresh_one(
    version: str, empty_database: str, database_url: str
) -> None:
    async with connected(empty_database) as old, connected(database_url) as fresh:
        await old.execute(text_of(version))

        await old.execute(schema_text())

        assert await catalogue(fresh) == await catalogue(old)


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_earlier_version_keeps_its_rows(
    version: str, empty_database: str, database_url: str
) -> None:
    async with connected(empty_database) as old, connected(database_url) as fresh:
        await old.execute(text_of(version))
        await old.execute(text_of(f"{version}.rows"))
        before = await contents(old)

        await old.execute(schema_text())

        after = await contents(old)
        assert await catalogue(fresh) == await catalogue(old)
    for table, rows in before.items():
        assert rows, f"{version}.rows.sql has nothing for {table}"
        known = rows[0].keys()
        kept = [{name: row[name] for name in known} for row in after[table]]
        assert rows == sorted(kept, key=str), table


# The comparison itself -------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "alter table links alter column url set default 'x'",
        "alter table links alter column url drop not null",
        "alter table quarantine alter column detail type varchar",
        "alter table links add column more text",
        "alter table links drop column last_clicked_at",
        "alter table links reset (fillfactor)",
        "alter table links drop constraint links_namespace_code_key",
        "alter table claims drop constraint claims_key_check",
        "alter table programs alter column number set generated always",
        "alter table events add column more text",
        "alter table links disable trigger directory",
        "alter type event_kind add value 'more' before 'lead'",
        "alter type event_kind rename value 'lead' to 'led'",
        "create table more ()",
        "create unlogged table more ()",
        "drop index events_visits",
        "drop trigger directory on links",
        "drop view contributions",
        """create or replace function uuid7_floor(moment timestamptz) returns uuid
           language sql as 'select null::uuid'""",
    ],
)
async def test_a_difference_is_seen(change: str, database_url: str) -> None:
    async with connected(database_url) as connection:
        before = await catalogue(connection)
        await connection.execute(change)

        assert before != await catalogue(connection)


async def test_where_a_column_stands_makes_no_difference(database_url: str) -> None:
    async with connected(database_url) as connection:
        before = await catalogue(connection)

        await connection.execute("alter table replays drop column scanned")
        await connection.execute(
            "alter table replays add column scanned bigint not null default 0"
        )

        assert before == await catalogue(connection)


# In a crowd ------------------------------------------------------------------------------


def _environment(url: str) -> Environment:
    return Environment({"REDIS_URL": "redis://unused", "DATABASE_URL": url}, lambda: 0)


async def _upgraded(url: str) -> dict[str, list[str]]:
    async with postgres(_environment(url), seconds=120) as connection:
        return await upgrade(connection)


@pytest.mark.parametrize("is_first", [True, False])
async def test_several_that_apply_it_at_once_all_succeed(
    empty_database: str, database_url: str, *, is_first: bool
) -> None:
    url = empty_database if is_first else database_url
    async with asyncio.TaskGroup() as group:
        applied = [group.create_task(_upgraded(url)) for _ in range(4)]

    made = [len(task.result()["tables"]) > 0 for task in applied]
    assert is_first == any(made)
    async with connected(url) as one, connected(database_url) as fresh:
        assert await catalogue(fresh) == await catalogue(one)


@asynccontextmanager
async def _writing(url: str, is_click: Callable[[int], bool]) -> AsyncIterator[None]:
    """Four workers, batch after batch, none of which the block may disturb."""
    stop, numbers = asyncio.Event(), count(1)
    enrich = build_enrichers(None)

    def a_delivery() -> Delivery:
        number = next(numbers)
        key = Dedupe.of("affitor:click", f"{number}")
        envelope = a_click(number, link_id=LINKS[number % 5], dedupe=key)
        if not is_click(number):
            click, link = an_id(number - 1), LINKS[(number - 1) % 5]
            customer = f"user-{number % 50}"
            envelope = a_lead(
                number, click_id=click, link_id=link, external_id=customer
            )
        return Delivery(Entry(1, 0, NOON_MS, number), encode(envelope))

    async def write(pool: Pool, consumer: str) -> None:
        pipeline = Pipeline(
            pool=pool,
            enrich=enrich,
            consumer=consumer,
            clock=lambda: NOON_MS,
            new_id=uuid4,
        )
        while not stop.is_set():
            # A deadlock is Trouble, and ends the test.
            await pipeline.process([a_delivery() for _ in range(40)])

    async with open_pool(url, size=5) as pool, asyncio.TaskGroup() as group:
        async with pool.acquire() as connection:
            await furnish(connection)
            await connection.fetchval("select make_partition('2025-03-10')")
        for consumer in ("w1", "w2", "w3", "w4"):
            group.create_task(write(pool, consumer))
        yield
        stop.set()


@pytest.mark.parametrize("every", [1, 10, 1000], ids=["clicks", "both", "mixed"])
async def test_it_is_applied_beside_workers_that_write(
    every: int, database_url: str
) -> None:
    def is_click(number: int) -> bool:
        return every == 1 or number % every > 0

    async with (
        _writing(database_url, is_click),
        connected(database_url) as connection,
    ):
        for _ in range(2):
            await apply_schema(connection)
            await asyncio.sleep(0.05)

    async with open_pool(database_url, size=1) as pool, pool.acquire() as connection:
        assert await connection.fetchval("select count(*) > 0 from events")
        assert not await miscounted(connection)


async def test_locks_that_somebody_keeps_are_said_and_nothing_is_changed(
    database_url: str,
) -> None:
    async with (
        connected(database_url) as other,
        connected(database_url) as connection,
        other.transaction(),
    ):
        await connection.execute("drop table limits")
        await other.execute("lock table links in row exclusive mode")

        with pytest.raises(Unreachable, match="Others hold locks on the tables"):
            await apply_schema(connection, seconds=0.1)

        assert not await connection.fetchval("select to_regclass('limits') is not null")
