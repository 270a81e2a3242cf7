"""A shard with events and a replay of it, worked on inside the test."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import Envelope
from ingest.contracts.stream import FIELD, GROUP, epoch_key, joined
from scripts.environment import Environment
from scripts.services.observe.verify import verify
from scripts.services.recover.replays import order, read, summary
from tests.support.directory import NOON_MS, furnish
from tests.support.eventually import eventually
from tests.support.servers.cli import servers_of
from tests.support.workers.working import STREAM, is_acknowledged, working
from workers.enrich import Enrich, build_enrichers
from workers.pipeline.pipeline import Pipeline
from workers.postgres.database import Pool, open_pool
from workers.redis_io.connections import for_jobs
from workers.replay.job import ReplayJob
from workers.replay.leases import Mode
from workers.replay.request import ReplayRequest
from workers.replay.sources import ReplaySources
from workers.stream.epochs import count_losses

DAY_MS = 24 * 3600 * 1000
EVERYTHING = ReplayRequest(from_ms=0, to_ms=4_000_000_000_000, rate=1_000_000)
ENRICH = build_enrichers(None)


@dataclass(frozen=True, slots=True)
class Site:
    """One shard and a database with links."""

    redis: Redis
    pool: Pool
    redis_url: str
    database_url: str
    archive: Path | None = None

    async def add(self, *envelopes: Envelope | bytes) -> None:
        for each in envelopes:
            payload = each if isinstance(each, bytes) else encode(each)
            await self.redis.xadd(STREAM, {FIELD: payload})

    async def add_together(self, *envelopes: Envelope | bytes) -> None:
        """Append one entry of all of them."""
        payloads = [
            each if isinstance(each, bytes) else encode(each) for each in envelopes
        ]
        await self.redis.xadd(STREAM, {FIELD: joined(payloads)})

    async def record(self) -> None:
        """Run a worker until nothing is left to do."""
        async with working("w1", self.redis_url, self.database_url, reclaim_after=0.05):
            await eventually(lambda: is_acknowledged(self.redis))

    async def skip(self) -> None:
        """As if everything had been acknowledged, and then a backup was restored."""
        epoch = await self.value(
            "insert into stream_epochs (shard) values (0) returning epoch"
        )
        await self.redis.set(epoch_key(0), epoch)
        await self.redis.xgroup_create(STREAM, GROUP, "$")

    async def proven(self) -> Any:
        """What `verify` says."""
        variables = servers_of(self.redis_url, self.database_url).variables
        return await verify(Environment(variables, lambda: 0.0), 0)

    async def count_losses(self) -> None:
        async with self.pool.acquire() as connection, connection.transaction():
            await count_losses(connection, self.redis, [0])

    def pipeline(self, enrich: Enrich = ENRICH) -> Pipeline:
        return Pipeline(
            pool=self.pool,
            enrich=enrich,
            consumer="w1",
            clock=lambda: NOON_MS + 300 * DAY_MS,
            new_id=uuid7,
        )

    def replays(self, enrich: Enrich = ENRICH) -> ReplayJob:
        sources = ReplaySources(self.redis, self.archive)
        return ReplayJob(self.pipeline(enrich), sources)

    async def order(
        self, mode: Mode = "missing", request: ReplayRequest = EVERYTHING
    ) -> asyncpg.pgproto.pgproto.UUID:
        async with self.pool.acquire() as connection:
            return await order(connection, mode, request, [0])

    async def replay(
        self,
        mode: Mode = "missing",
        request: ReplayRequest = EVERYTHING,
        enrich: Enrich = ENRICH,
    ) -> dict[str, int]:
        """Replay all of it; what it came to."""
        replay_id = await self.order(mode, request)
        replays = self.replays(enrich)
        for _ in range(50):
            await replays.work()
            async with self.pool.acquire() as connection:
                found = await read(connection, replay_id)
            if found["status"] == "done":
                break
        assert "done" == found["status"]
        kept = summary(found)
        names = ("inserted", "changed", "unchanged", "quarantined", "refused")
        assert kept["scanned"] == sum(kept[name] for name in names)
        return {name: kept[name] for name in ("scanned", *names) if kept[name]}

    async def value(self, query: str, *values: object) -> Any:
        async with self.pool.acquire() as connection:
            return await connection.fetchval(query, *values)

    async def digest(self) -> Sequence[object]:
        """Of all rows and counters, and of the books."""
        async with self.pool.acquire() as connection:
            return [
                await connection.fetchval(_DIGEST.format(table)) for table in TABLES
            ]


@asynccontextmanager
async def a_site(
    redis_url: str, database_url: str, archive: Path | None = None
) -> AsyncIterator[Site]:
    """One shard that is still empty and a furnished database; the archive is made."""
    async with (
        for_jobs(redis_url) as redis,
        open_pool(database_url, size=4) as pool,
    ):
        async with pool.acquire() as connection:
            await furnish(connection)
        if archive is not None:
            await asyncio.to_thread(archive.mkdir)
        yield Site(redis, pool, redis_url, database_url, archive)


TABLES = (
    "events", "customers", "claims", "event_aliases", "repeats", "links",
    "program_partners", "link_days", "link_amounts", "program_partner_amounts",
    "(select epoch, shard, entry_ms, entry_seq, entry_index, reason, status, attempts from quarantine)",
    "(select epoch, shard, sum(recorded), sum(repeats), sum(quarantined), sum(lost) from ledger group by 1, 2)",
)  # fmt: skip
_DIGEST = "select md5(coalesce(string_agg(t::text, e'\\n' order by t::text), '')) from {} as t"
