"""REFTIDE_POOLER=transaction, without a pooler: what is asked of a session, and what is left in it."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.support.servers.cli import Cli
from workers.model.batch import TransientError
from workers.postgres.database import (
    SERVER_SETTINGS,
    Pool,
    autocommit,
    copy_rows,
    execute_in_batches,
    open_pool,
    transaction,
    translate_errors,
)
from workers.postgres.pooler import session

_NAMED = "select count(*) from pg_prepared_statements"
#: What PgBouncer keeps for a client; all else is a transaction's.
_KEPT = {"application_name", "timezone"}
_SET = "select name, setting from pg_settings where name = any ($1)"


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, size=1, is_pooled=True) as found:
        yield found


async def _settings(connection: asyncpg.Connection) -> dict[str, str]:
    return dict(await connection.fetch(_SET, [*SERVER_SETTINGS]))


async def test_no_statement_has_a_name(pool: Pool) -> None:
    async with transaction(pool) as connection:
        await connection.execute(
            "create temporary table numbers (n int) on commit drop"
        )
        await copy_rows(connection, "numbers", ["n"], [(1,), (2,), (3,)], 3)
        await connection.executemany("insert into numbers values ($1)", [(4,), (5,)])
        cursor = await connection.cursor("select n from numbers where n > $1", 1)
        found = [row["n"] for row in await cursor.fetch(2)]
        # Another statement between two pages of a cursor.
        total = await connection.fetchval("select sum(n) from numbers where n < $1", 9)
        found += [row["n"] for row in await cursor.fetch(9)]
        named = await connection.fetchval(_NAMED)

    assert ([2, 3, 4, 5], 15, 0) == (found, total, named)


async def test_a_statement_is_described_once_and_takes_other_values(pool: Pool) -> None:
    async with autocommit(pool) as connection:
        found = [await connection.fetchval("select $1::int + 1", n) for n in range(3)]
        row = await connection.fetchrow("select $1::text as a, now() as b", "x")

    assert ([1, 2, 3], "x") == (found, row and row["a"])


@pytest.mark.parametrize("enter", [transaction, autocommit])
async def test_what_workers_set_holds_in_each_transaction_and_stays_in_none(
    pool: Pool, database_url: str, enter: type
) -> None:
    other = await asyncpg.connect(database_url)
    usual = await _settings(other)
    await other.close()

    async with enter(pool) as connection:
        wanted = await _settings(connection)
    # Nothing is set outside a transaction: the query goes past `fetch`.
    async with pool.acquire() as connection:
        left = dict(await asyncpg.Connection.fetch(connection._con, _SET, [*usual]))  # type: ignore[attr-defined]

    assert {**usual, **SERVER_SETTINGS} == wanted | {"timezone": "UTC"}
    assert {n: t for n, t in usual.items() if n not in _KEPT} == {
        name: text for name, text in left.items() if name not in _KEPT
    }


async def test_statements_commit_by_themselves_outside_a_transaction(
    pool: Pool,
) -> None:
    async with autocommit(pool) as connection:
        await connection.execute("create table numbers (n int)")
        with pytest.raises(asyncpg.DivisionByZeroError):
            await connection.execute("insert into numbers select 1 / $1::int", 0)
        await connection.execute("insert into numbers values ($1)", 1)
        assert 1 == await connection.fetchval("select count(*) from numbers")
    assert 0 == await execute_in_batches(
        pool,
        "with gone as (delete from numbers where n > $1 returning 1) select count(*) from gone",
        7,
    )


async def test_what_postgresql_does_in_no_transaction_is_done(pool: Pool) -> None:
    async with autocommit(pool) as connection:
        await connection.execute("create table months (n int) partition by range (n)")
        await connection.execute(
            "create table may partition of months for values from (1) to (9)"
        )
        await connection.execute("alter table months detach partition may concurrently")

        assert "may" == await connection.fetchval(
            "select relname from pg_class where relname = 'may' and not relispartition"
        )


async def test_a_console_can_change_nothing(database_url: str) -> None:
    settings = {"default_transaction_read_only": "on", "timezone": "UTC"}
    connection = await asyncpg.connect(
        database_url, **session(settings, is_pooled=True)
    )
    try:
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await connection.execute("create table numbers (n int)")
        assert 1 == await connection.fetchval("select 1")
    finally:
        await connection.close()


async def test_a_session_that_is_shared_is_said_with_its_remedy(
    database_url: str,
) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("prepare x as select 1")
        with (
            pytest.raises(TransientError, match="REFTIDE_POOLER=transaction"),
            translate_errors(),
        ):
            await connection.execute("prepare x as select 1")
    finally:
        await connection.close()


def test_commands_work_and_lock_others_out(cli: Cli, database_url: str) -> None:
    pooled = Cli({**cli.variables, "REFTIDE_POOLER": "transaction"}, now=cli.now)

    assert 0 == pooled.run("seed").code
    assert (
        [] == pooled.document("partitions", "detach", "--before", "2020-01")["detached"]
    )
    assert 0 == pooled.run("verify").code
    assert [] == pooled.document("reconcile")["repaired"]
