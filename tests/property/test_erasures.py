"""An erasure at any moment of any history: nothing counts otherwise, nobody is left."""

import random
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from ingest.contracts.envelope import Dedupe, Envelope
from tests.property.test_any_order import _deliveries, histories
from tests.property.test_replays import _empty, _pipeline
from tests.support.directory import WORKSPACE, furnish, miscounted
from tests.support.envelopes import changed
from tests.support.examples import examples
from tests.support.workers.facets import make, wrong_facets
from workers.erasure.begin import Person, begin, find_people
from workers.erasure.runner import Eraser
from workers.model.batch import Delivery, TransientError
from workers.pipeline.pipeline import Pipeline
from workers.postgres.database import Pool, open_pool
from workers.redis_io.connections import for_jobs

_COUNTED = (
    "select * from links order by id",
    """select program_id, partner_id, unique_clicks, clicks, bot_clicks, duplicate_clicks, leads, sales from program_partners
        where clicks + leads + sales <> 0 order by 1, 2""",
    "select * from link_days where clicks + leads + sales <> 0 order by 1, 2",
    "select * from link_amounts where amount <> 0 order by 1, 2",
    "select * from program_partner_amounts where amount <> 0 order by 1, 2, 3",
    """select sum(recorded)::int, sum(repeats)::int, sum(quarantined)::int from ledger""",
    """select id, at, kind, is_bot, is_duplicate, quantity, link_id, program_id, partner_id, click_id,
              attributed_id, amount, currency
         from events order by id""",
    # Somebody of whom nothing was recorded has a row for what may come.
    """select status, points_to is null, external_id is null, count(*) from customers
        where external_id is null or exists (select from events where customer_id = customers.id)
        group by 1, 2, 3 order by 1, 2, 3""",
)  # fmt: skip
_ERASED = "truncate erasures, suppressions, erasure_events, erasure_leftovers cascade"


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, size=4) as pool:
        async with pool.acquire() as connection:
            await furnish(connection)
        yield pool


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with for_jobs(redis_url) as found:
        yield found


def _of_one(event: Envelope, number: int) -> Envelope:
    """Without what is two persons' at once, and with a time of its own.

    An event that shares a dedupe key with an erased person is another event from then on, and
    which of two attempts of one moment has the row is their bytes' to say.
    """
    if event.request.dedupe is not None:
        whose = event.customer.external_id or str(
            event.click.id or event.click.root_id or event.id
        )
        key = Dedupe.of(
            event.request.dedupe.scope, event.request.dedupe.key.hex(), whose
        )
        event = changed(event, dedupe=key)
    # An erased visitor is compared with nobody from then on.
    event = changed(event, visitor=None)
    if event.target.link_id is None and event.click.session is not None:
        event = changed(event, session=None, dedupe=None)
    # The texts of a person are marked, to be looked for.
    if event.customer.name is not None:
        event = changed(
            event,
            customer_name=f"{event.customer.name} of {event.customer.external_id}",
        )
    return changed(event, at=event.request.at + number)


async def _process(pipeline: Pipeline, batch: list[Delivery]) -> None:
    try:
        await pipeline.process(batch)
    except TransientError:
        await pipeline.process(batch)


async def _counted(pool: Pool) -> list[list[tuple[Any, ...]]]:
    async with pool.acquire() as connection:
        assert [] == await miscounted(connection)
        return [[tuple(row) for row in await connection.fetch(q)] for q in _COUNTED]


async def _begin(pool: Pool, who: str) -> None:
    await make(pool)
    async with pool.acquire() as connection:
        found = await find_people(connection, who, WORKSPACE)
        is_name = who in {"ann", "bob"}
        person = found[0] if found else Person(WORKSPACE, None, who)
        if found or is_name:
            erasure = UUID(int=random.getrandbits(127))
            await begin(connection, person, erasure, "tester", "")


@examples(20)
@given(events=histories(), seed=st.integers(0, 2**32))
async def test_an_erasure_at_any_time_changes_no_count(
    pool: Pool, redis: Redis, events: list[Envelope], seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 -- shuffles, hides nothing
    events = [_of_one(event, number) for number, event in enumerate(events)]
    batches = _deliveries(events, chance)
    await _empty(pool)
    await pool.execute(_ERASED)
    for batch in batches:
        await _pipeline(pool).process(batch)
    whole = await _counted(pool)

    await _empty(pool)
    who = chance.choice(("ann", "ann", "bob", str(events[0].id)))
    begins = chance.randint(0, len(batches))
    works = chance.randint(begins, len(batches))
    pipeline, eraser = _pipeline(pool), Eraser(pool, redis, [0])
    for number in range(len(batches) + 1):
        if number == begins:
            await _begin(pool, who)
        if number == works:
            await eraser.work()
        if number < len(batches):
            await _process(pipeline, batches[number])
    await _begin(pool, who)
    await eraser.work()

    assert whole == await _counted(pool)
    assert [] == await _facets(pool)
    if who in {"ann", "bob"}:
        assert [] == await _named(pool, who)


async def _facets(pool: Pool) -> list[Any]:
    await make(pool)
    return await wrong_facets(pool)


async def _named(pool: Pool, who: str) -> list[str]:
    """The rows that still name somebody."""
    rows = [
        row["t"]
        for table in ("events", "customers", "quarantine")
        # Another workspace may have a namesake.
        for row in await pool.fetch(
            f"select t::text from {table} t where workspace_id = $1",  # noqa: S608 -- ours
            WORKSPACE,
        )
    ]
    named = "select id::text as t from customers where external_id = $1 and workspace_id = $2"
    known = await pool.fetch(named, who, WORKSPACE)
    return [row for row in rows if f" of {who}" in row] + [row["t"] for row in known]
