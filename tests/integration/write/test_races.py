"""Two workers put in the same rows at once: the second finds that out, and looks again."""

import asyncio
from collections.abc import Sequence
from itertools import count
from uuid import UUID

import pytest

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import Envelope, own_click, own_click_name
from tests.support.directory import (
    LINKS,
    NOON_MS,
    a_click,
    a_lead,
    a_sale,
    miscounted,
)
from tests.support.workers.racing import beside, somebody_waits
from workers.enrich import build_enrichers
from workers.model.batch import Delivery, Entry
from workers.pipeline.pipeline import Pipeline
from workers.postgres.database import Pool, array_literal


def _pipeline(pool: Pool) -> Pipeline:
    """Customers have ids in the order in which they come."""
    ids = count(1)
    return Pipeline(
        pool=pool,
        enrich=build_enrichers(None),
        consumer="tester",
        clock=lambda: NOON_MS,
        new_id=lambda: UUID(int=next(ids)),
    )


def _delivery(number: int, envelope: Envelope) -> Delivery:
    return Delivery(Entry(1, 0, NOON_MS, number), encode(envelope))


async def _race(pool: Pool, first: Sequence[Delivery], second: Delivery) -> None:
    """Process `second` while another worker has written `first` and not committed."""
    pipeline = _pipeline(pool)
    await beside(pipeline, first, lambda: pipeline.process([second]))


async def _counted(pool: Pool) -> tuple[int, int, int]:
    """Events, repeats, customers."""
    async with pool.acquire() as connection:
        assert [] == await miscounted(connection)
        row = await connection.fetchrow(
            "select (select count(*) from events), (select count(*) from repeats),"
            " (select count(*) from customers)"
        )
        return tuple(row)


async def test_a_click_that_another_worker_records_just_now_is_a_repeat(
    pool: Pool,
) -> None:
    click = a_click(1)

    await _race(pool, [_delivery(1, click)], _delivery(2, click))

    assert (1, 1, 1) == await _counted(pool)


async def test_a_click_comes_while_its_lead_is_being_recorded(pool: Pool) -> None:
    click = a_click(1)
    lead = a_lead(2, click_id=click.id, link_id=click.target.link_id, at=NOON_MS + 1)

    await _race(pool, [_delivery(1, lead)], _delivery(2, click))

    events, repeats, _ = await _counted(pool)
    assert (2, 0) == (events, repeats)
    async with pool.acquire() as connection:
        attributed = "select attributed_id from events where kind = 'lead'"
        assert click.id == await connection.fetchval(attributed)


@pytest.mark.parametrize("is_lead_first", [True, False])
async def test_a_click_takes_its_own_id_over_while_a_lead_by_it_is_being_recorded(
    pool: Pool, *, is_lead_first: bool
) -> None:
    own_id = "rt_2871660403117829"
    key, at = own_click(own_id), NOON_MS + 1
    first = _delivery(1, a_click(1, dedupe=key))
    again = _delivery(2, a_click(2, dedupe=key, link_id=LINKS[1], at=at))
    name = own_click_name(own_id)
    lead = _delivery(3, a_lead(3, foreign_click=name, at=NOON_MS + 2))
    await _pipeline(pool).process([again])

    racers = (lead, first) if is_lead_first else (first, lead)
    await _race(pool, [racers[0]], racers[1])

    events, repeats, _ = await _counted(pool)
    assert (2, 1) == (events, repeats)
    async with pool.acquire() as connection:
        counted = "select sum(leads) from links where id = $1"
        assert 1 == await connection.fetchval(counted, LINKS[0])


async def test_writers_of_one_sale_that_see_it_differently_do_not_block_each_other(
    pool: Pool,
) -> None:
    pipeline = _pipeline(pool)
    entries = count(1)

    def sales(*told: tuple[int, str]) -> list[Delivery]:
        return [
            _delivery(next(entries), a_sale(number, external_id=customer))
            for number, customer in told
        ]

    await pipeline.process(sales((1, "ann"), (2, "bob")))
    alone, twice = sales((3, "ann"), (4, "bob")), sales((3, "ann"), (3, "ann"))

    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            # Has Ann's lock and waits for Bob's.
            group.create_task(pipeline.process(alone))
            await somebody_waits(pool)
            # An event that a batch has twice is no plain lead.
            group.create_task(pipeline.process(twice))

    await beside(pipeline, sales((5, "bob")), both, waiting=2)

    assert (5, 2, 2) == await _counted(pool)


async def test_whole_numbers_are_written_as_postgres_reads_an_array(pool: Pool) -> None:
    numbers = [-(2**63), 0, 2**63 - 1]

    async with pool.acquire() as connection:
        assert numbers == await connection.fetchval(
            "select $1::text::bigint[]", array_literal(numbers)
        )
        assert [] == await connection.fetchval(
            "select $1::text::int[]", array_literal([])
        )
