"""A worker's quarantine without the worker: what is refused, what comes, what is put back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from uuid import UUID, uuid4

from redis.asyncio import Redis

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import Envelope
from tests.support.directory import NOON_MS, a_click, furnish, miscounted
from workers.enrich import build_enrichers
from workers.model.batch import Delivery, Entry
from workers.pipeline.pipeline import Pipeline
from workers.postgres.database import Pool, open_pool
from workers.publish.publisher import publish_changes
from workers.redis_io.connections import for_jobs
from workers.redrive.marks import check_due, mark_woken
from workers.redrive.page import Redriver

#: The link that `lost_click` lacks, once it is added as NEW.
NEW_LINK = UUID(int=0x60)

_ENRICH = build_enrichers(None)
_MARK = "update quarantine set redrive_at = now() where status = 'open'"


@dataclass(slots=True)
class Clinic:
    """A furnished installation whose jobs are run by hand."""

    pool: Pool
    redis: Redis
    pipeline: Pipeline
    redriver: Redriver
    _entries: Any = field(default_factory=count)

    def delivery(self, envelope: Envelope | bytes) -> Delivery:
        payload = envelope if isinstance(envelope, bytes) else encode(envelope)
        number = next(self._entries)
        return Delivery(Entry(1, number % 2, NOON_MS, number), payload)

    async def take_in(self, *envelopes: Envelope | bytes) -> list[Delivery]:
        """Deliver in one batch."""
        deliveries = [self.delivery(envelope) for envelope in envelopes]
        assert deliveries == list(await self.pipeline.process(deliveries))
        return deliveries

    async def execute(self, statement: str, *values: object) -> None:
        await self.pool.execute(statement, *values)

    async def value(self, statement: str, *values: object) -> Any:
        return await self.pool.fetchval(statement, *values)

    async def ask(self) -> None:
        """Mark everything, as an operator would."""
        await self.execute(_MARK)

    async def redrive(self) -> int:
        """Try what is marked until nothing is; how many attempts that were."""
        total = 0
        while size := await self.redriver.work():
            total += size
        return total

    async def publish(self) -> None:
        async with self.pool.acquire() as connection:
            while await publish_changes(connection, self.redis):
                pass

    async def heal(self) -> int:
        """All that the jobs do by themselves, until it is quiet; how many attempts."""
        total = 0
        while True:
            await self.publish()
            await self.execute(
                "update quarantine set look_at = now() where look_at > now()"
            )
            found = await mark_woken(self.pool) + await check_due(self.pool)
            tried = await self.redrive()
            total += tried
            if not found and not tried:
                return total

    async def reasons(self) -> list[str]:
        """Why what is open is open."""
        rows = await self.pool.fetch(
            "select reason::text from quarantine where status = 'open' order by id"
        )
        return [row["reason"] for row in rows]

    async def ledger(self) -> tuple[int, int, int]:
        """Recorded, repeats, quarantined."""
        row = await self.pool.fetchrow(
            "select coalesce(sum(recorded), 0)::int, coalesce(sum(repeats), 0)::int,"
            " coalesce(sum(quarantined), 0)::int from ledger"
        )
        return tuple(row or ())

    async def mistakes(self) -> list[Any]:
        """What `verify` finds."""
        async with self.pool.acquire() as connection:
            return await miscounted(connection)

    async def add_link(self, link: UUID, code: str, workspace: UUID) -> None:
        await self.execute(
            "insert into links (id, workspace_id, public_id, namespace, code)"
            " values ($1, $2, $3, '-', $3)",
            link,
            workspace,
            code,
        )


@asynccontextmanager
async def a_clinic(
    database_url: str, redis_url: str, *, is_furnished: bool = False
) -> AsyncIterator[Clinic]:
    """The installation of `world`, which may be there already."""
    async with open_pool(database_url, size=8) as pool, for_jobs(redis_url) as redis:
        if not is_furnished:
            async with pool.acquire() as connection:
                await furnish(connection)
        pipeline = Pipeline(
            pool=pool,
            enrich=_ENRICH,
            consumer="tester",
            clock=lambda: NOON_MS,
            new_id=uuid4,
        )
        yield Clinic(pool, redis, pipeline, Redriver(pipeline))


def lost_click(number: int, code: str = "NEW", **changes: object) -> Envelope:
    """A click on a code that the directory did not know when it came."""
    values = {"link_id": None, "namespaces": ("-",), "code": code}
    return a_click(number, **values | changes)
