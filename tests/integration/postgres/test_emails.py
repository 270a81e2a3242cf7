"""Addresses that a former release recorded, and those that are to be stored otherwise."""

import asyncio
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import asyncpg
import pytest

from ingest.contracts.variables import StoreEmail
from scripts.services.maintain import emails
from scripts.services.maintain.emails import store_emails
from scripts.services.maintain.schema import schema_text
from tests.integration.postgres.test_schema import FOLDER, connected
from tests.support.directory import NOON_MS, WORKSPACE, a_lead, an_id
from tests.support.workers.emails import opened
from tests.support.workers.recording import record
from workers.postgres.database import open_pool
from workers.postgres.email_key import load_email_key

PEOPLE = range(7)
_EVENT = (
    "insert into events (id, at, digest, kind, is_test, is_bot, is_duplicate, quantity, epoch, shard,"
    " entry_seq, entry_ms, workspace_id, dialect, properties)"
    " values ($1, now(), 0, $2, false, false, false, 1, 1, 0, $3, 0, $4, 'affitor', $5)"
)

_STUMBLE = """
create function stumble() returns trigger language plpgsql as $$ begin raise exception 'stumbled'; end $$;
create trigger stumble before update on customers for each row when (new.external_id = 'p4') execute function stumble();
"""


def address(number: int) -> str:
    return f"Person{number}@Example.com"


async def fill(connection: asyncpg.Connection) -> None:
    """Record as 0.1.0 did: addresses of customers in plain text, others as SHA-256."""
    await connection.execute((FOLDER / "v1.sql").read_text("utf-8"))
    await connection.execute("select make_partition('2025-03-10')")
    await connection.executemany(
        "insert into customers (id, workspace_id, external_id, status, seen_at, email, email_at, email_by)"
        " values ($1, $2, $3, 'lead', now(), $4, now(), $1)",
        [
            (an_id(number), WORKSPACE, f"p{number}", address(number))
            for number in PEOPLE
        ],
    )
    await connection.executemany(
        _EVENT, [row for number in PEOPLE for row in _rows(number)]
    )


def _rows(number: int) -> Iterator[tuple[Any, ...]]:
    digits = sha256(address(number).lower().encode()).hexdigest()
    more = '"program_id": 1, ' if number % 2 else ""
    said = f'{{{more}"email_sha256": "{digits}"}}'
    yield an_id(number), "lead", number, WORKSPACE, said
    yield an_id(100 + number), "click", 100 + number, WORKSPACE, None


async def upgraded(connection: asyncpg.Connection, choice: StoreEmail) -> int:
    await connection.execute(schema_text())
    return await store_emails(connection, choice)


async def customers(connection: asyncpg.Connection) -> list[tuple[Any, ...]]:
    query = "select email, email_sealed, email_hash from customers order by id"
    return [tuple(row) for row in await connection.fetch(query)]


async def events(connection: asyncpg.Connection) -> list[tuple[Any, ...]]:
    query = "select properties::text, email_hash from events where kind = 'lead' order by id"
    return [tuple(row) for row in await connection.fetch(query)]


async def test_former_addresses_are_sealed_and_hashed_and_edges_are_told(
    empty_database: str,
) -> None:
    async with connected(empty_database) as connection:
        await fill(connection)

        changed = await upgraded(connection, "encrypted")

        email_key = await load_email_key(connection)
        hashes = [email_key.hash(address(number)) for number in PEOPLE]
        sealed = [email_key.seal(address(number).encode()) for number in PEOPLE]
        assert 2 * len(PEOPLE) == changed
        expected = [(None, *pair) for pair in zip(sealed, hashes, strict=True)]
        assert expected == await customers(connection)
        left = ('{"program_id": 1}' if number % 2 else None for number in PEOPLE)
        assert list(zip(left, hashes, strict=True)) == await events(connection)
        told = "select count(*) from directory_changes where topic = 'customer' and ref like $1 || ' p%'"
        assert len(PEOPLE) == await connection.fetchval(told, str(WORKSPACE))
        assert 0 == await upgraded(connection, "encrypted")


async def test_where_none_is_wanted_all_are_removed(empty_database: str) -> None:
    async with connected(empty_database) as connection:
        await fill(connection)
        await upgraded(connection, "encrypted")

        await upgraded(connection, "none")

        assert {(None, None, None)} == set(await customers(connection))
        assert {None} == {hashed for _, hashed in await events(connection)}


async def test_where_plain_ones_are_wanted_they_are_opened(
    empty_database: str,
) -> None:
    async with connected(empty_database) as connection:
        await fill(connection)
        await upgraded(connection, "encrypted")

        assert len(PEOPLE) == await upgraded(connection, "plain")

        found = await customers(connection)
        assert [(address(n), None) for n in PEOPLE] == [row[:2] for row in found]
        assert all(hashed for *_, hashed in found)


async def test_an_upgrade_that_was_interrupted_goes_on(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emails, "_PAGE", 2)
    monkeypatch.setattr(emails, "_WINDOW", 2)
    async with connected(empty_database) as connection:
        await fill(connection)
        await connection.execute(schema_text())
        await connection.execute(_STUMBLE)

        with pytest.raises(asyncpg.RaiseError):
            await store_emails(connection, "encrypted")

        assert {True, False} == {
            sealed is None for _, sealed, _ in await customers(connection)
        }
        await connection.execute("drop trigger stumble on customers")
        await store_emails(connection, "encrypted")

        assert all(
            plain is None and sealed for plain, sealed, _ in await customers(connection)
        )
        assert all(hashed for _, hashed in await events(connection))


async def test_an_upgrade_waits_for_workers_that_hold_a_customer(
    empty_database: str,
) -> None:
    async with (
        connected(empty_database) as connection,
        connected(empty_database) as other,
    ):
        await fill(connection)
        await connection.execute(schema_text())
        async with other.transaction():
            await other.execute("select from customers for update")
            upgrading = asyncio.ensure_future(store_emails(connection, "encrypted"))
            await asyncio.wait({upgrading}, timeout=1.2)
            assert not upgrading.done()
            await other.execute(
                "update customers set email = 'new@example.com' where id = $1", an_id(0)
            )
        await upgrading

        email_key = await load_email_key(connection)
        _, sealed, hashed = (await customers(connection))[0]
        assert b"new@example.com" == email_key.open(sealed)
        assert email_key.hash("new@example.com") == hashed


async def test_the_latest_address_wins_over_a_former_one_that_is_sealed_by_now(
    empty_database: str,
) -> None:
    async with connected(empty_database) as connection:
        await fill(connection)
        await upgraded(connection, "encrypted")
        await connection.execute(
            "insert into workspaces (id, name) values ($1, 'w') on conflict do nothing",
            WORKSPACE,
        )
        await connection.execute(
            "update customers set email_at = to_timestamp($1 / 1000.0)", NOON_MS
        )
    late = a_lead(
        500, at=NOON_MS + 1, external_id="p0", customer_email="late@example.com"
    )
    early = a_lead(
        501, at=NOON_MS - 1, external_id="p1", customer_email="early@example.com"
    )
    async with open_pool(empty_database, size=2) as pool:
        await record(pool, late, early)

        query = "select email_sealed from customers where external_id = any('{p0,p1}') order by external_id"
        found = [await opened(pool, row[0]) for row in await pool.fetch(query)]
        assert ["late@example.com", address(1)] == found
