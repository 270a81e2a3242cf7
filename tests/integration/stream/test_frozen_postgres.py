"""A frozen PostgreSQL and two workers: waiting does not look like dying."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    contextmanager,
)
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.stream import FIELD, GROUP
from tests.support.directory import a_click, furnish
from tests.support.eventually import eventually
from tests.support.workers.working import (
    STREAM,
    has_consumers,
    is_acknowledged,
    working,
)
from workers.model.batch import Delivery, Entry
from workers.pipeline.pipeline import Pipeline
from workers.redis_io.connections import for_jobs

EVENTS = 40
#: A batch that nobody says anything of for so long is taken over.
RECLAIM_SECONDS = 0.6
FROZEN_SECONDS = 4.0


class Hands:
    """What the workers have in hand; it is never the same entry twice."""

    def __init__(self) -> None:
        self.by_worker: dict[str, set[Entry]] = {}
        self.shared: set[Entry] = set()

    @contextmanager
    def holding(self, worker: str, deliveries: Sequence[Delivery]) -> Iterator[None]:
        entries = {delivery.entry for delivery in deliveries}
        for held in self.by_worker.values():
            self.shared |= entries & held
        self.by_worker[worker] = entries
        try:
            yield
        finally:
            self.by_worker[worker] = set()

    async def both_are_full(self) -> bool:
        return 2 == sum(1 for held in self.by_worker.values() if held)


class Watched:
    """A pipeline of which it is known what it has in hand."""

    def __init__(self, pipeline: Pipeline, hands: Hands) -> None:
        self._pipeline = pipeline
        self._hands = hands

    async def process(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        with self._hands.holding(self._pipeline.consumer, deliveries):
            return await self._pipeline.process(deliveries)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database_url)
    await furnish(connection)
    await connection.fetchval("select make_partition('2025-03-10')")
    yield connection
    await connection.close()


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with for_jobs(redis_url) as client:
        yield client


@asynccontextmanager
async def frozen(database: Any) -> AsyncIterator[None]:
    """Stop every server process of the database but the one that is asked."""
    rows = await database.fetch(
        "select pid from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()"
    )
    for row in rows:
        os.kill(row["pid"], signal.SIGSTOP)
    try:
        yield
    finally:
        for row in rows:
            os.kill(row["pid"], signal.SIGCONT)


async def test_batches_that_wait_for_postgres_stay_with_their_workers(
    redis_url: str,
    redis: Redis,
    database_url: str,
    database: Any,
) -> None:
    hands = Hands()

    def a_worker(name: str) -> AbstractAsyncContextManager[None]:
        return working(
            name,
            redis_url,
            database_url,
            lambda pipeline: Watched(pipeline, hands),
            batch_size=5,
            reclaim_after=RECLAIM_SECONDS,
            reclaim_every=0.05,
        )

    async with a_worker("w1"), a_worker("w2"):
        await eventually(lambda: has_consumers(redis, 2))
        async with frozen(database):
            for number in range(EVENTS):
                click = encode(a_click(number))
                await redis.xadd(STREAM, {FIELD: click})
            await eventually(hands.both_are_full)
            await asyncio.sleep(FROZEN_SECONDS)
            pending = await redis.xpending_range(STREAM, GROUP, "-", "+", 100)
        await eventually(lambda: is_acknowledged(redis))

    assert {1} == {entry["times_delivered"] for entry in pending}
    assert {b"w1", b"w2"} == {entry["consumer"] for entry in pending}
    assert set() == hands.shared
    assert EVENTS == await database.fetchval("select count(*) from events")
    books = await database.fetchrow(
        "select sum(recorded)::int, sum(repeats)::int, sum(lost)::int from ledger"
    )
    assert (EVENTS, 0, 0) == tuple(books)
