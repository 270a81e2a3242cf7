"""Many workers at once, and one that dies: everything is counted once."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from uuid import uuid4

import pytest

from ingest.contracts.envelope import Dedupe
from tests.support.directory import LINKS, NOON_MS, a_click, a_lead, furnish, miscounted
from tests.support.workers.racing import somebody_waits
from tests.support.workers.recording import (
    a_delivery,
    a_pipeline,
    ledger_of,
    link_row,
    value_of,
)
from workers.enrich import build_enrichers
from workers.model.batch import Boundary
from workers.pipeline.pipeline import Pipeline
from workers.postgres.database import Pool, open_pool, transaction


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, size=10) as pool:
        async with pool.acquire() as connection:
            await furnish(connection)
        yield pool


async def test_many_workers_at_once_count_everything_once(pool: Pool) -> None:
    """Eight writers, the same events shuffled between them, customers in common."""
    clicks = [a_click(number, link_id=LINKS[number % 5]) for number in range(60)]
    returning = [
        a_click(
            100 + number,
            at=NOON_MS + 1,
            root_id=clicks[number].id,
            root_link_id=clicks[number].target.link_id,
        )
        for number in range(30)
    ]
    leads = [
        a_lead(
            200 + number,
            at=NOON_MS + 2,
            click_id=clicks[number % 20].id,
            link_id=clicks[number % 20].target.link_id,
            external_id=f"user-{number % 7}",
            name=f"name-{number % 3}",
            dedupe=Dedupe.of("lead", f"user-{number % 7}", f"name-{number % 3}"),
        )
        for number in range(40)
    ]
    events = [*clicks, *returning, *leads]
    deliveries = [a_delivery(event) for event in events * 3]

    async def work(worker: int) -> None:
        mine = deliveries[worker::4] + deliveries[worker::8]
        pipeline = a_pipeline(pool, consumer=f"worker-{worker}")
        for start in range(0, len(mine), 10):
            await pipeline.process(mine[start : start + 10])

    async with asyncio.TaskGroup() as group:
        for worker in range(8):
            group.create_task(work(worker))

    async with pool.acquire() as connection:
        assert [] == await miscounted(connection)
    winners = len({(f"user-{n % 7}", f"name-{n % 3}") for n in range(40)})
    recorded = 90 + winners
    assert (recorded, len(deliveries) - recorded, 0) == await ledger_of(pool)
    assert recorded == await value_of(pool, "select count(*) from events")


async def test_who_waits_for_a_counter_has_done_everything_else(pool: Pool) -> None:
    """So its own turn at the counter is as short as can be."""
    holding = "select from links where id = $1 for update"
    entered = (
        "select count(*) from pg_stat_activity join pg_locks using (pid)"
        " where wait_event_type = 'Lock' and datname = current_database()"
        " and relation = 'ledger'::regclass and mode = 'RowExclusiveLock'"
    )
    async with asyncio.TaskGroup() as group, transaction(pool) as connection:
        await connection.execute(holding, LINKS[0])
        group.create_task(a_pipeline(pool).process([a_delivery(a_click(1))]))
        await somebody_waits(pool)
        assert 1 == await connection.fetchval(entered)

    assert (1, 0, 0) == await ledger_of(pool)


class _Died(BaseException):
    """As if the process had been killed on this line."""


def _dies_at(boundary: Boundary) -> Callable[[Boundary], None]:
    def reached(here: Boundary) -> None:
        if here == boundary:
            raise _Died

    return reached


BOUNDARIES: Sequence[Boundary] = (
    "read",
    "resolved",
    "enriched",
    "written",
    "committed",
)


@pytest.mark.parametrize("boundary", BOUNDARIES)
async def test_a_worker_may_die_on_any_line(pool: Pool, boundary: Boundary) -> None:
    click = a_click(1)
    lead = a_lead(2, click_id=click.id, link_id=LINKS[0], at=NOON_MS + 5)
    batch = [a_delivery(event) for event in (click, lead, b"junk", click)]
    dying = Pipeline(
        pool=pool,
        enrich=build_enrichers(None),
        consumer="mortal",
        clock=lambda: NOON_MS,
        new_id=uuid4,
        boundary=_dies_at(boundary),
    )

    with pytest.raises(_Died):
        await dying.process(batch)
    again = list(batch)
    assert again == await a_pipeline(pool).process(again)

    link = await link_row(pool)
    assert (1, 1) == (link["clicks"], link["leads"])
    async with pool.acquire() as connection:
        assert [] == await miscounted(connection)
    assert (2, 1, 1) == await ledger_of(pool)
