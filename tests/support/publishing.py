"""A workspace with one of everything in Postgres, and its publisher, called by hand."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from ingest.contracts.directory import CHANGES_FIELD, CHANGES_KEY, LinkRecord
from workers.postgres.database import Pool, open_pool
from workers.publish.publisher import publish_changes, publish_if_missing
from workers.redis_io.connections import for_jobs

HASH = bytes(range(32))
CREATED_MS = 1_741_608_000_123


@dataclass(frozen=True, slots=True)
class World:
    """A workspace with one of everything, and the means to change it."""

    pool: Pool
    redis: Redis
    workspace: UUID
    program: UUID
    partner: UUID
    link: UUID

    async def execute(self, statement: str, *arguments: Any) -> None:
        await self.pool.execute(statement, *arguments)

    async def publish(self) -> int:
        async with self.pool.acquire() as connection:
            return await publish_changes(connection, self.redis)

    async def publish_if_missing(self) -> bool:
        async with self.pool.acquire() as connection:
            return await publish_if_missing(connection, self.redis)

    async def link_at(self, key: str) -> LinkRecord | None:
        raw = await self.redis.get(key)
        return LinkRecord.decode(raw) if raw else None

    async def announced(self) -> list[str]:
        entries = await self.redis.xrange(CHANGES_KEY)
        return [fields[CHANGES_FIELD].decode() for _, fields in entries]

    async def add_links(self, count: int) -> None:
        await self.pool.executemany(
            "insert into links (id, workspace_id, public_id, namespace, code, program_id)"
            " values ($1, $2, $3, '-', $3, $4)",
            [(uuid7(), self.workspace, f"n{n}", self.program) for n in range(count)],
        )


@asynccontextmanager
async def a_world(database_url: str, redis_url: str) -> AsyncIterator[World]:
    """The world, in a database with the schema and an empty Redis."""
    async with open_pool(database_url, size=3) as pool, for_jobs(redis_url) as redis:
        ids = [uuid7() for _ in range(5)]
        workspace, program, partner, link, key = ids
        found = World(pool, redis, workspace, program, partner, link)
        await found.execute(
            "insert into workspaces (id, name) values ($1, 'w')", workspace
        )
        await found.execute(
            "insert into programs (id, number, workspace_id, name, url,"
            " cookie_window_days) values ($1, 12, $2, 'p', 'https://p.example', 30)",
            program,
            workspace,
        )
        await found.execute(
            "insert into partners (id, workspace_id, public_id, code, name)"
            " values ($1, $2, 'pn_1', 'jane', 'Jane')",
            partner,
            workspace,
        )
        await found.execute(
            "insert into links (id, workspace_id, public_id, namespace, code, url,"
            " program_id, partner_id, created_at) values ($1, $2, 'lk_1', '-', 'SPRING',"
            " 'https://shop.example', $3, $4, to_timestamp($5::bigint / 1000.0))",
            link,
            workspace,
            program,
            partner,
            CREATED_MS,
        )
        await found.execute("insert into link_aliases values ('-', 'WINTER', $1)", link)
        await found.execute(
            "insert into api_keys (id, workspace_id, key_hash, last_four, scopes)"
            " values ($1, $2, $3, '1234', '{events:write}')",
            key,
            workspace,
            HASH,
        )
        await found.execute(
            "insert into domains (domain, workspace_id) values ('go.example', $1)",
            workspace,
        )
        await found.execute(
            "insert into imported_clicks values ($1, 'tok', $2, $3)",
            workspace,
            link,
            link,
        )
        yield found
