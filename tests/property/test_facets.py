"""Facets after any history: what a plain sum over rows says, whenever they were made."""

import random
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.contracts.envelope import Client, Envelope
from tests.property.test_any_order import _deliveries, histories
from tests.property.test_replays import (
    _FURNISHED,
    _PLACES,
    _empty,
    _pipeline,
    _point,
    _replay,
)
from tests.support.directory import LINKS, furnish, miscounted
from tests.support.examples import examples
from tests.support.workers.facets import make, wrong_facets
from workers.model.enrichment import Agent, Enrichment, Location
from workers.postgres.database import Pool, open_pool


def _another_atlas(client: Client) -> Enrichment:
    country = "FR" if client.visitor else "DE"
    return Enrichment(agent=Agent(device="tv"), location=Location(country=country))


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, size=4) as pool:
        async with pool.acquire() as connection:
            await furnish(connection)
        yield pool


@examples(20)
@given(
    events=histories(),
    seed=st.integers(0, 2**32),
    places=st.tuples(*[_PLACES] * len(LINKS)),
)
async def test_facets_are_the_sums_of_rows_after_any_order_repetition_and_reprocessing(
    pool: Pool,
    events: list[Envelope],
    seed: int,
    places: tuple[tuple[UUID | None, UUID | None], ...],
) -> None:
    chance = random.Random(seed)  # noqa: S311 -- shuffles, hides nothing
    batches = _deliveries(events, chance)
    await _empty(pool)
    await _point(pool, _FURNISHED)
    for batch in batches:
        await _pipeline(pool).process(batch)
        if chance.random() < 0.5:
            await make(pool)
    if chance.random() < 0.5:
        await _point(pool, places)
    anyhow = chance.sample(batches, chance.randint(0, len(batches)))
    await _replay(pool, anyhow, "reprocess", _another_atlas)
    async with pool.acquire() as connection:
        before = await miscounted(connection)
    await make(pool)
    async with pool.acquire() as connection:
        after = await miscounted(connection)

    assert [] == before == after
    assert [] == await wrong_facets(pool)
