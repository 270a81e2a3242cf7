"""Replays of any history, whole or in parts, end as if all had been recorded once."""

import random
from collections.abc import AsyncIterator, Sequence
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.contracts.envelope import Client, Envelope
from scripts.services.recover.replays import order
from tests.property.test_any_order import (
    _DAY_MS,
    _ENRICH,
    _TABLES,
    _deliveries,
    _unaccounted,
    assert_equal,
    histories,
)
from tests.support.directory import (
    FIRST_CLICK,
    LAST_CLICK,
    LINKS,
    NOON_MS,
    PARTNERS,
    Books,
    furnish,
    miscounted,
    read_books,
    uncount_links,
)
from tests.support.examples import examples
from tests.support.workers.replaying import EVERYTHING
from workers.enrich import Enrich
from workers.model.batch import Delivery
from workers.model.enrichment import Agent, Enrichment
from workers.pipeline.pipeline import Pipeline
from workers.postgres.database import Pool, open_pool
from workers.replay.leases import Mode, Step, take
from workers.replay.page import PageReplayer
from workers.replay.sources import Cursor

Batches = Sequence[Sequence[Delivery]]
_START = Cursor(epoch=1, at="0-0", end="0-0")


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, size=4) as pool:
        async with pool.acquire() as connection:
            await furnish(connection)
        yield pool


async def _empty(pool: Pool) -> None:
    async with pool.acquire() as connection:
        await connection.execute(f"truncate {_TABLES}, replays, replay_parts")
        await uncount_links(connection)


def _pipeline(pool: Pool, enrich: Enrich = _ENRICH) -> Pipeline:
    minted = iter(range(1, 10_000))
    # Ids of customers say nothing, yet two pipelines must not mint the same.
    chance = random.randrange(1 << 60) << 16  # noqa: S311 -- likewise
    return Pipeline(
        pool=pool,
        enrich=enrich,
        consumer="tester",
        clock=lambda: NOON_MS + 365 * _DAY_MS,
        new_id=lambda: UUID(int=next(minted) + chance + (1 << 100)),
    )


async def _replay(
    pool: Pool, batches: Batches, mode: Mode, enrich: Enrich = _ENRICH
) -> tuple[int, ...]:
    """Replay pages of entries; how many were scanned, inserted, changed, unchanged."""
    pipeline = _pipeline(pool, enrich)
    async with pool.acquire() as connection:
        replay_id = await order(connection, mode, EVERYTHING, (0,))
    part = await take(pool, UUID(int=9))
    assert part is not None
    for batch in batches:
        await PageReplayer(pipeline).replay_page(part, batch, Step(_START))
    await PageReplayer(pipeline).replay_page(part, [], Step(None))
    async with pool.acquire() as connection:
        row = await connection.fetchrow(
            "select scanned, inserted, changed, unchanged, quarantined"
            " from replays where id = $1 and status = 'done'",
            replay_id,
        )
    assert row is not None
    assert row["scanned"] == sum(row) - row["scanned"]
    return tuple(row)


async def _books(pool: Pool, batches: Batches) -> Books:
    async with pool.acquire() as connection:
        assert await miscounted(connection) == []
        assert await _unaccounted(connection, batches) == []
        return await read_books(connection)


def _everybody_is_a_bot(_: Client) -> Enrichment:
    return Enrichment(agent=Agent(device="bot"))


_PLACES = st.sampled_from(
    [(p, q) for p in (LAST_CLICK, FIRST_CLICK) for q in PARTNERS] + [(None, None)]
)


async def _point(pool: Pool, places: Sequence[tuple[UUID | None, UUID | None]]) -> None:
    """Let links belong to these programs and partners."""
    async with pool.acquire() as connection:
        await connection.executemany(
            "update links set program_id = $2, partner_id = $3 where id = $1",
            [(link, *place) for link, place in zip(LINKS, places, strict=True)],
        )


_FURNISHED = (
    (LAST_CLICK, PARTNERS[0]),
    (LAST_CLICK, PARTNERS[1]),
    (FIRST_CLICK, PARTNERS[0]),
    (FIRST_CLICK, PARTNERS[1]),
    (None, None),
)
_LOOSE = examples(30)


@_LOOSE
@given(events=histories(), seed=st.integers(0, 2**32))
async def test_what_was_lost_and_replayed_in_any_order_is_as_if_it_was_never_lost(
    pool: Pool, events: list[Envelope], seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 -- shuffles, hides nothing
    batches = _deliveries(events, chance)
    await _empty(pool)
    for batch in batches:
        await _pipeline(pool).process(batch)
    whole = await _books(pool, batches)

    await _empty(pool)
    for batch in batches:
        fate = chance.choice(("recorded", "lost", "replayed", "reprocessed"))
        if fate == "recorded":
            await _pipeline(pool).process(batch)
        elif fate != "lost":
            mode: Mode = "missing" if fate == "replayed" else "reprocess"
            some = [each for each in batch if chance.random() < 0.7]
            await _replay(pool, [some], mode)
    anyhow = chance.sample(batches, len(batches))
    await _replay(pool, anyhow, chance.choice(("missing", "reprocess")))
    replayed = await _books(pool, batches)
    scanned, *done, unchanged, quarantined = await _replay(pool, batches, "reprocess")

    assert_equal(whole, replayed)
    assert ([0, 0], scanned, 0) == (done, unchanged, quarantined)
    assert_equal(whole, await _books(pool, batches))


@_LOOSE
@given(
    events=histories(),
    seed=st.integers(0, 2**32),
    places=st.tuples(*[_PLACES] * len(LINKS)),
    are_bots=st.booleans(),
)
async def test_what_is_reprocessed_is_as_if_it_had_always_been_so(
    pool: Pool,
    events: list[Envelope],
    seed: int,
    places: tuple[tuple[UUID | None, UUID | None], ...],
    are_bots: bool,  # noqa: FBT001 -- hypothesis'
) -> None:
    chance = random.Random(seed)  # noqa: S311 -- shuffles, hides nothing
    batches = _deliveries(events, chance)
    enrich = _everybody_is_a_bot if are_bots else _ENRICH
    await _empty(pool)
    await _point(pool, places)
    for batch in batches:
        await _pipeline(pool, enrich).process(batch)
    wanted = await _books(pool, batches)

    await _empty(pool)
    await _point(pool, _FURNISHED)
    for batch in batches:
        await _pipeline(pool).process(batch)
    await _point(pool, places)
    anyhow = chance.sample(batches, len(batches))
    await _replay(pool, anyhow, "reprocess", enrich)
    reprocessed = await _books(pool, batches)
    scanned, *done, unchanged, quarantined = await _replay(
        pool, batches, "reprocess", enrich
    )

    assert_equal(wanted, reprocessed)
    assert ([0, 0], scanned, 0) == (done, unchanged, quarantined)
