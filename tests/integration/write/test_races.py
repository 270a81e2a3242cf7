"""Two workers put in the same rows at once: the second finds that out, and looks again."""

from collections.abc import Sequence
from uuid import uuid4

from ingest.contracts.envelope import Envelope, encode
from tests.support.directory import NOON_MS, a_click, a_lead, miscounted
from tests.support.workers.racing import beside
from workers.enrich import build_enrichers
from workers.model.batch import Delivery, Entry
from workers.pipeline.pipeline import Pipeline
from workers.postgres.database import Pool, array_literal


def _pipeline(pool: Pool) -> Pipeline:
    return Pipeline(
        pool=pool,
        enrich=build_enrichers(None),
        consumer="tester",
        clock=lambda: NOON_MS,
        new_id=uuid4,
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


async def test_whole_numbers_are_written_as_postgres_reads_an_array(pool: Pool) -> None:
    numbers = [-(2**63), 0, 2**63 - 1]

    async with pool.acquire() as connection:
        assert numbers == await connection.fetchval(
            "select $1::text::bigint[]", array_literal(numbers)
        )
        assert [] == await connection.fetchval(
            "select $1::text::int[]", array_literal([])
        )
