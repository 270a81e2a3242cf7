"""The schema: its text, and how it is applied to a database that may be in use."""

import asyncio
import random
from collections.abc import Iterable
from itertools import cycle
from typing import Final

import asyncpg

from scripts.errors import Unreachable
from scripts.servers import Connection
from scripts.sql import statements
from workers.postgres import schema

_SQL: Final = statements("services/maintain/schema")
#: The tables that applying locks and workers write, in the order in which a batch writes
#: them (`workers/write/transaction.py`): the schema's own order would deadlock with them.
#: Leads that name their customer make a batch begin with `customers`: so there are two.
_ORDERS: Final = (
    ("quarantine", "customers", "claims", "event_aliases", "events", "links", "repeats", "ledger"),
    ("quarantine", "claims", "event_aliases", "events", "customers", "links", "repeats", "ledger"),
)  # fmt: skip
#: Ends a deadlock nonetheless. It is less than PostgreSQL's `deadlock_timeout`, 1 s, after
#: which PostgreSQL might abort a worker's batch instead of us.
_LOCK_MS: Final = 500
_PAUSE_SECONDS: Final = 0.3
#: How long to try while others hold the locks.
_TRY_SECONDS: Final = 60.0

_IN_THE_WAY: Final = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)


def schema_text() -> str:
    """The whole schema. Raises Unreachable if the installation lacks it."""
    try:
        return schema.schema_text()
    except FileNotFoundError as error:
        raise Unreachable("schema.sql is missing.", "install reftide again.") from error


async def upgrade(connection: Connection) -> dict[str, list[str]]:
    """Apply the schema; the tables and columns that it made. Raises Unreachable."""
    before = await _columns(connection)
    await apply_schema(connection)
    after = await _columns(connection)
    return {
        "tables": sorted(after.keys() - before.keys()),
        "columns": sorted(
            f"{table}.{column}"
            for table in before.keys() & after.keys()
            for column in after[table] - before[table]
        ),
    }


async def apply_schema(connection: Connection, seconds: float = _TRY_SECONDS) -> None:
    """Apply the schema in one transaction, again until the tables' locks were free.

    Raises Unreachable if they are not free for so many seconds.
    """
    loop, text = asyncio.get_running_loop(), schema_text()
    deadline = loop.time() + seconds
    for order in cycle(_ORDERS):
        try:
            async with connection.transaction():
                await _lock(connection, order)
                await connection.execute(text)
        except _IN_THE_WAY as error:
            if loop.time() > deadline:
                raise Unreachable(
                    f"Others hold locks on the tables for {seconds:.0f} s: {error}",
                    "end what runs for long in this database (see pg_stat_activity),"
                    " then try again; nothing has been changed.",
                ) from error
        else:
            return
        # Workers, and other processes that apply it, proceed meanwhile.
        await asyncio.sleep(_PAUSE_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 -- spreads, hides nothing


async def _columns(connection: Connection) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in await connection.fetch(_SQL["columns"]):
        found.setdefault(row["table_name"], set()).add(row["column_name"])
    return found


async def _lock(connection: Connection, order: Iterable[str]) -> None:
    await connection.execute(f"set local lock_timeout = {_LOCK_MS}")
    for table in order:
        if await connection.fetchval("select to_regclass($1) is not null", table):
            # Batches read it before anything else, and columns are added to it: with less
            # than this they would hold it, and wait for what we have.
            mode = "access" if table == "quarantine" else "share row"
            await connection.execute(f"lock table {table} in {mode} exclusive mode")
