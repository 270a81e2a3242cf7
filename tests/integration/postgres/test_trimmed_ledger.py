"""What `verify` proves of streams that were trimmed, by us and by others."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.placement.layout import Layout
from ingest.contracts.stream import FIELD, SHARDS_KEY
from scripts.environment import Environment
from scripts.services.observe.verify import verify
from tests.support.directory import a_click, furnish
from tests.support.eventually import eventually
from tests.support.servers.cli import servers_of
from tests.support.workers.working import STREAM, is_acknowledged, working
from workers.jobs.schedule import Jobs
from workers.postgres.database import open_pool
from workers.redis_io.connections import for_jobs
from workers.stream.consumer_gc import collect_consumers
from workers.stream.trimmer import Trimmer

#: Enough for some whole nodes of the stream, which alone are trimmed.
EVENTS = 300


@dataclass(frozen=True, slots=True)
class Site:
    """One shard, a database with links, and their addresses."""

    redis: Redis
    redis_url: str
    database_url: str

    async def add(self, numbers: range) -> None:
        for number in numbers:
            await self.redis.xadd(STREAM, {FIELD: encode(a_click(number))})

    async def record(self) -> None:
        """Run a worker until nothing is left to do."""
        async with working("w1", self.redis_url, self.database_url, reclaim_after=0.05):
            await eventually(lambda: is_acknowledged(self.redis))

    async def run_jobs(self) -> None:
        async with open_pool(self.database_url, size=2) as pool:
            jobs = Jobs(pool, self.redis, Layout.at_home(1))
            await Trimmer(self.redis, [0], keep_hours=0).trim()
            await jobs.sample_epochs()
            await jobs.count_losses()
            await collect_consumers(self.redis, Layout.at_home(1))

    async def proven(self) -> Mapping[str, Any]:
        variables = servers_of(self.redis_url, self.database_url).variables
        return await verify(Environment(variables, lambda: 0.0), 0)

    async def books(self) -> tuple[int, int]:
        connection = await asyncpg.connect(self.database_url)
        row = await connection.fetchrow(
            "select sum(recorded)::int, sum(lost)::int from ledger"
        )
        await connection.close()
        return tuple(row)


@pytest.fixture
async def site(redis_url: str, database_url: str) -> AsyncIterator[Site]:
    connection = await asyncpg.connect(database_url)
    await furnish(connection)
    await connection.fetchval("select make_partition('2025-03-10')")
    await connection.close()
    async with for_jobs(redis_url) as redis:
        await redis.set(SHARDS_KEY, 1)
        yield Site(redis, redis_url, database_url)


async def test_what_we_trimmed_is_proven_as_before(site: Site) -> None:
    await site.add(range(EVENTS))
    await site.record()
    assert EVENTS == (await site.proven())["compared"]["entries"]

    await site.run_jobs()
    await site.add(range(EVENTS, EVENTS + 5))
    await site.record()

    report = await site.proven()
    retained = await site.redis.xlen(STREAM)
    assert retained < EVENTS
    assert (True, True, retained) == (
        report["ok"],
        report["settled"],
        report["compared"]["entries"],
    )
    assert (EVENTS + 5, 0) == await site.books()


async def test_what_others_trimmed_unread_is_lost_and_the_books_balance(
    site: Site,
) -> None:
    await site.add(range(10))
    await site.record()
    await site.add(range(10, 30))
    await site.redis.xtrim(STREAM, maxlen=12, approximate=False)
    await site.record()
    assert 8 == (await site.proven())["balance"]

    await site.run_jobs()

    report = await site.proven()
    assert [("lost", 8)] == [
        (one["what"], one["found"]) for one in report["mismatches"]
    ]
    assert 0 == report["balance"]
    assert (22, 8) == await site.books()


async def test_pending_entries_that_others_trimmed_are_lost_and_the_books_balance(
    site: Site,
) -> None:
    await site.add(range(10))
    await site.redis.xgroup_create(STREAM, "recorder", "0")
    await site.redis.xreadgroup("recorder", "w1", {STREAM: ">"}, 6)
    await site.redis.xtrim(STREAM, maxlen=7, approximate=False)
    await site.record()

    await site.run_jobs()

    report = await site.proven()
    assert [("lost", 3)] == [
        (one["what"], one["found"]) for one in report["mismatches"]
    ]
    assert 0 == report["balance"]
    assert (7, 3) == await site.books()
