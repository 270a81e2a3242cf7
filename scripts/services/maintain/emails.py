"""Stores recorded e-mail addresses as the operator chose, beside workers that write.

Each page is a transaction. If it is interrupted, the next run goes on from there.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import asyncpg

from ingest.contracts.variables import StoreEmail
from scripts.servers import Connection
from scripts.sql import statements
from workers.model.emails import EmailStore
from workers.postgres.database import columns
from workers.postgres.email_key import load_email_key

_SQL: Final = statements("services/maintain/emails")
_PAGE: Final = 500
#: Few events have an address.
_WINDOW: Final = 20_000
#: Less than PostgreSQL's `deadlock_timeout`, after which it might abort a worker's batch.
_LOCK: Final = "set local lock_timeout = 500"
_PAUSE_SECONDS: Final = 0.3
_IN_THE_WAY: Final = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)


async def store_emails(connection: Connection, choice: StoreEmail) -> int:
    """Store every address as chosen; how many rows changed."""
    store = EmailStore(await load_email_key(connection), choice)
    [(reached, end)] = await connection.fetch(_SQL["events_begin"])
    pages = _Pages(connection, store, choice, end)
    changed = await _walk(connection, pages.events, reached)
    changed += await _walk(connection, pages.customers, UUID(int=0))
    if choice == "none":
        changed += await _walk(connection, pages.forgotten, UUID(int=0))
    return changed


@dataclass(frozen=True, slots=True)
class _Pages:
    """Each method changes the page after a row: how many rows, and the last; None: the end."""

    connection: Connection
    store: EmailStore
    choice: StoreEmail
    events_end: UUID

    async def events(self, after: UUID) -> tuple[int, UUID | None]:
        if after >= self.events_end:
            return 0, None
        window = after, self.events_end, _WINDOW
        reached: UUID = await self.connection.fetchval(_SQL["window_end"], *window)
        rows = await self.connection.fetch(_SQL["events_in"], after, reached)
        found = [(row["id"], self.store.former_hash(row["digits"])) for row in rows]
        if found:
            await self.connection.execute(_SQL["events_set"], *columns(found))
        await self.connection.execute(_SQL["events_reached"], reached)
        return len(found), reached

    async def customers(self, after: UUID) -> tuple[int, UUID | None]:
        asked = after, self.choice, _PAGE
        rows = await self.connection.fetch(_SQL["customers_page"], *asked)
        if not rows:
            return 0, None
        found = [
            (row["id"], *self.store.stored(row["email"], row["email_sealed"]))
            for row in rows
        ]
        await self.connection.execute(_SQL["customers_set"], *columns(found))
        return len(found), rows[-1]["id"]

    async def forgotten(self, after: UUID) -> tuple[int, UUID | None]:
        rows = await self.connection.fetch(_SQL["events_forget"], _PAGE)
        return len(rows), after if rows else None


async def _walk(
    connection: Connection,
    page: Callable[[UUID], Awaitable[tuple[int, UUID | None]]],
    start: UUID,
) -> int:
    total, reached = 0, start
    while True:
        try:
            async with connection.transaction():
                await connection.execute(_LOCK)
                changed, last = await page(reached)
        except _IN_THE_WAY:
            # A worker's batch goes first.
            await asyncio.sleep(_PAUSE_SECONDS)
            continue
        total += changed
        if last is None:
            return total
        reached = last
