"""Eight workers on one link: they wait for one another, and never in a circle."""

import asyncio
from itertools import count
from uuid import uuid4

from ingest.contracts.encoding.envelopes import encode
from tests.support.directory import (
    NOON_MS,
    a_click,
    a_lead,
    a_sale,
    an_id,
    furnish,
    miscounted,
)
from workers.enrich import build_enrichers
from workers.model.batch import Delivery, Entry
from workers.pipeline.pipeline import Pipeline
from workers.postgres.database import Pool, open_pool

WORKERS, BATCHES, SIZE = 8, 12, 40


def _deliveries(numbers: "count[int]") -> list[Delivery]:
    """Clicks on one link, and leads and sales of some of them by few customers."""
    found = []
    for _ in range(SIZE):
        number = next(numbers)
        envelope = a_click(number)
        if number % 4 == 1:
            make, who = a_lead if number % 8 == 1 else a_sale, f"user-{number % 37}"
            envelope = make(number, click_id=an_id(number - 1), external_id=who)
        found.append(Delivery(Entry(1, number % 4, NOON_MS, number), encode(envelope)))
    return found


async def _work(pool: Pool, consumer: str, numbers: "count[int]") -> None:
    pipeline = Pipeline(
        pool=pool,
        enrich=build_enrichers(None),
        consumer=consumer,
        clock=lambda: NOON_MS,
        new_id=uuid4,
    )
    for _ in range(BATCHES):
        # A deadlock is Trouble, and ends the test.
        await pipeline.process(_deliveries(numbers))


async def test_eight_workers_on_one_link_never_deadlock(database_url: str) -> None:
    numbers = count(1)

    async with open_pool(database_url, size=WORKERS) as pool:
        async with pool.acquire() as connection:
            await furnish(connection)
        async with asyncio.TaskGroup() as group:
            for worker in range(WORKERS):
                group.create_task(_work(pool, f"w{worker}", numbers))
        async with pool.acquire() as connection:
            total = WORKERS * BATCHES * SIZE
            assert total == await connection.fetchval("select count(*) from events")
            assert not await miscounted(connection)
