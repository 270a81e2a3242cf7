"""Commands, while others are at the same rows."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from ingest.contracts import apikey
from scripts.environment import Environment
from scripts.errors import Unreachable
from scripts.servers import postgres
from scripts.sql import statements
from tests.support.eventually import eventually
from tests.support.servers.cli import SECRET, Cli, Result
from workers.postgres.sql import statements as statements_of_workers

if TYPE_CHECKING:
    from scripts.servers import Connection

_LINKS = statements("services/administer/catalogue/links")
_GENERATING = statements_of_workers("resolve/generated_links")
#: Who waits for a lock has others in this database. No statistics: a transaction sees
#: those as they were when it first looked.
_WAITING = """
select pid from pg_locks where not granted
intersect
select pid from pg_locks join pg_database on oid = database
 where datname = current_database()
"""


@pytest.fixture
async def other(shop: Cli) -> AsyncIterator["Connection"]:
    """Somebody else in the shop's database."""
    connection = await asyncpg.connect(shop.variables["DATABASE_URL"])
    yield connection
    await connection.close()


async def somebody_waits(connection: "Connection") -> bool:
    return await connection.fetch(_WAITING) != []


async def waiting(
    group: asyncio.TaskGroup, other: "Connection", cli: Cli, *arguments: str
) -> asyncio.Task[Result]:
    """A command that waits until the other's transaction ends."""
    command = group.create_task(asyncio.to_thread(cli.run, *arguments))
    await eventually(partial(somebody_waits, other))
    return command


async def test_of_two_who_rename_a_link_both_are_heard(
    shop: Cli, other: "Connection"
) -> None:
    link = await other.fetchval("select id from links")
    rename = ("links", "set", "SUMMER", "--code", "C")
    async with asyncio.TaskGroup() as group, other.transaction():
        await other.execute(_LINKS["one_writer"])
        command = await waiting(group, other, shop, *rename)
        await other.execute(_LINKS["rename"], link, "B")
        await other.execute(_LINKS["alias"], "-", "SUMMER", link)

    assert 0 == command.result().code, command.result().err
    former = await other.fetch("select code from link_aliases order by code")
    assert ["B", "SUMMER"] == [row["code"] for row in former]
    assert "C" == await other.fetchval("select code from links")


async def test_a_link_is_renamed_while_a_worker_makes_links(
    shop: Cli, other: "Connection"
) -> None:
    link = await other.fetchval("select id from links")
    rename = ("links", "set", "SUMMER", "--code", "C")
    earlier = datetime(2020, 1, 1, tzinfo=UTC)
    async with asyncio.TaskGroup() as group, other.transaction():
        await other.execute(_GENERATING["codes_lock"])
        command = await waiting(group, other, shop, *rename)
        await other.execute(_GENERATING["generated_since"], [link], [earlier])

    assert 0 == command.result().code, command.result().err
    kept = await other.fetchrow("select code, created_at from links")
    assert ("C", earlier) == tuple(kept or ())


async def test_of_two_who_import_a_key_the_second_is_told_of_the_first(
    shop: Cli, other: "Connection"
) -> None:
    key, (key_hash, *_) = uuid7(), apikey.hashes([SECRET.encode()], "old-key-1")
    owner = await other.fetchval("select id from workspaces")
    given = ("keys", "add", "--scopes", "track", "--secret", "old-key-1")
    async with asyncio.TaskGroup() as group, other.transaction():
        await other.execute(
            statements("services/administer/access/keys")["add"],
            key,
            owner,
            "",
            key_hash,
            "ey-1",
            ["track"],
            [],
        )
        command = await waiting(group, other, shop, *given)

    refusal = command.result()
    assert (2, "") == (refusal.code, refusal.out)
    assert f"known already, as {key}" in refusal.err
    assert [key] == [row["id"] for row in await other.fetch("select id from api_keys")]


async def test_a_command_that_waits_in_vain_says_to_try_again(
    shop: Cli, other: "Connection"
) -> None:
    environment = Environment(shop.variables, lambda: shop.now)
    hasty = postgres(environment, settings={"lock_timeout": "50"})
    async with other.transaction():
        await other.execute("lock table links")
        with pytest.raises(Unreachable, match="try again"):
            async with hasty as connection:
                await connection.execute("update links set url = ''")


async def test_the_victim_of_a_deadlock_says_to_try_again(
    shop: Cli, other: "Connection"
) -> None:
    environment = Environment(shop.variables, lambda: shop.now)
    yielding = postgres(environment, settings={"deadlock_timeout": "10"})
    await other.execute("set deadlock_timeout to '1min'")

    async def meet(group: asyncio.TaskGroup) -> None:
        async with yielding as connection, connection.transaction():
            await connection.execute("lock table partners")
            group.create_task(other.execute("lock table partners"))
            await eventually(partial(somebody_waits, connection))
            await connection.execute("lock table links")

    async with other.transaction():
        await other.execute("lock table links")
        async with asyncio.TaskGroup() as group:
            with pytest.raises(Unreachable, match="try again"):
                await meet(group)
