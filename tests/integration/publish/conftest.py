"""Events that are recorded, and what is published of them."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis

from ingest.contracts.directory import (
    CustomerRecord,
    StatsRecord,
    customer_key,
    stats_key,
)
from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import Envelope
from tests.support.directory import (
    NOON_MS,
    PARTNERS,
    WORKSPACE,
    furnish,
)
from tests.support.workers.emails import published
from workers.enrich import build_enrichers
from workers.model.batch import Delivery, Entry
from workers.pipeline.pipeline import Pipeline
from workers.postgres.database import Pool, open_pool
from workers.publish.publisher import (
    publish_changes,
    publish_if_missing,
)
from workers.publish.retention import Retention
from workers.redis_io.connections import for_jobs

#: The publisher's clock stands where the events' does.
AT_NOON = Retention(clock=lambda: NOON_MS)
_ENRICH = build_enrichers(None)
_ENTRIES = count()


@dataclass(frozen=True, slots=True)
class World:
    """A furnished database, a worker's pipeline, and the publisher."""

    pool: Pool
    redis: Redis

    async def record(self, *envelopes: Envelope) -> None:
        pipeline = Pipeline(
            pool=self.pool,
            enrich=_ENRICH,
            consumer="tester",
            clock=lambda: NOON_MS,
            new_id=uuid4,
        )
        await pipeline.process(
            [
                Delivery(Entry(1, 0, NOON_MS, next(_ENTRIES)), encode(envelope))
                for envelope in envelopes
            ]
        )

    async def publish(self) -> int:
        async with self.pool.acquire() as connection:
            return await publish_changes(connection, self.redis, AT_NOON)

    async def publish_anew(self) -> None:
        await self.redis.flushdb()
        async with self.pool.acquire() as connection:
            assert await publish_if_missing(connection, self.redis, AT_NOON)

    async def execute(self, statement: str, *arguments: Any) -> None:
        await self.pool.execute(statement, *arguments)

    async def customer(
        self, external_id: str = "user", workspace: UUID = WORKSPACE
    ) -> CustomerRecord | None:
        key = customer_key(workspace, external_id)
        return await published(self.pool, self.redis, key)

    async def came_by(self, external_id: str = "user") -> tuple[UUID | None, ...]:
        """The click and the link of a published customer."""
        found = await self.customer(external_id)
        assert found is not None
        return found.click_uuid, found.link_uuid

    async def stats(self, number: int = 0) -> tuple[int, int] | None:
        """Conversions and pending sessions of one of the partners, as published."""
        code = f"prt{PARTNERS[number].int}"
        raw = await self.redis.get(stats_key(WORKSPACE, code))
        found = StatsRecord.decode(raw) if raw else None
        return (found.conversions, found.pending) if found else None


@pytest.fixture
async def world(database_url: str, redis_url: str) -> AsyncIterator[World]:
    async with open_pool(database_url, size=4) as pool, for_jobs(redis_url) as redis:
        async with pool.acquire() as connection:
            await furnish(connection)
        found = World(pool, redis)
        await found.publish()
        yield found
