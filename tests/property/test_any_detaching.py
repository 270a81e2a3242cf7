"""Months that come and go, by processes that may die on the way, among events of all of them.

After every step the counters are what rows and folded months say; once all months are back,
they are what the rows alone say, and every event is in the books once.
"""

import random
from collections.abc import AsyncIterator, Callable
from itertools import count
from uuid import UUID

import asyncpg
import pytest
from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import Dedupe, Envelope
from scripts.services.maintain import partitions
from scripts.services.maintain.partitions import Step
from tests.support.directory import (
    LINKS,
    NOON_MS,
    a_click,
    a_lead,
    a_sale,
    furnish,
    miscounted,
)
from tests.support.workers.facets import make, wrong_facets
from workers.enrich import build_enrichers
from workers.model.batch import Delivery, Entry
from workers.pipeline.pipeline import Pipeline
from workers.postgres.database import Pool, open_pool

_DAY_MS = 24 * 3600 * 1000
_MONTHS = ("events_202503", "events_202504", "events_202505")
_STEPS: tuple[Step, ...] = ("closed", "folded", "detached", "attached")
_ENRICH = build_enrichers(None)


class Killed(Exception):
    """Instead of SIGKILL."""


class Walk:
    """Random steps of workers and operators on one installation."""

    def __init__(self, seed: int, pool: Pool, url: str, redis: Redis) -> None:
        self.chance = random.Random(seed)  # noqa: S311 -- hides nothing
        self._pool = pool
        self._url = url
        self._redis = redis
        self._numbers = count(1)
        self._entries = count()
        self._clicks: list[UUID] = []
        self.sent = 0

    async def record(self) -> None:
        """Events of any month, that name clicks of any other."""
        events = [self._event() for _ in range(self.chance.randint(1, 6))]
        deliveries = [
            Delivery(Entry.of(1, 0, NOON_MS, next(self._entries)), encode(event))
            for event in events
        ]
        pipeline = Pipeline(
            pool=self._pool,
            enrich=_ENRICH,
            consumer="w1",
            clock=lambda: NOON_MS + 400 * _DAY_MS,
            new_id=uuid7,
        )
        assert deliveries == await pipeline.process(deliveries)
        self.sent += len(events)

    async def detach(self) -> None:
        """All months before one, or as far as it gets."""
        last = self.chance.choice(_MONTHS)
        boundary = self._deadly()
        connection = await asyncpg.connect(self._url)
        try:
            for month in await partitions.months(connection):
                if month.name <= last and month.state != "detached":
                    await partitions.detach(
                        connection, self._redis, (0,), month, boundary
                    )
        except Killed:
            pass
        finally:
            connection.terminate()

    async def attach(self) -> None:
        """All months from one on, or as far as it gets."""
        first = self.chance.choice(_MONTHS)
        await self.attach_from(first, self._deadly())

    async def attach_from(
        self, first: str, boundary: Callable[[Step], None] = lambda _: None
    ) -> None:
        connection = await asyncpg.connect(self._url)
        try:
            for month in reversed(await partitions.months(connection)):
                if month.name >= first and month.state != "attached":
                    await partitions.attach(connection, month, boundary)
        except Killed:
            pass
        finally:
            connection.terminate()

    def _deadly(self) -> Callable[[Step], None]:
        fatal = self.chance.choice((*_STEPS, None))

        def boundary(step: Step) -> None:
            if step == fatal and self.chance.random() < 0.7:
                raise Killed

        return boundary

    def _event(self) -> Envelope:
        chance, number = self.chance, next(self._numbers)
        at = NOON_MS + chance.randrange(3) * 30 * _DAY_MS + number
        link = chance.choice(LINKS)
        kind = chance.choice((a_click, a_lead, a_sale))
        if kind is a_click:
            root = chance.choice([*self._clicks, None])
            click = a_click(number, at=at, link_id=link, click_id=root, session="s")
            self._clicks.append(click.id)
            return click
        key = chance.randrange(5)
        return kind(
            number,
            at=at,
            click_id=chance.choice([*self._clicks, None]),
            external_id=f"c{key}",
            dedupe=chance.choice([None, Dedupe("lead", bytes([key] * 16))]),
        )


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, size=4) as pool:
        async with pool.acquire() as connection:
            await furnish(connection)
            await connection.fetch(
                "select make_partition(timestamptz '2025-03-10' + months * interval '1 month')"
                " from generate_series(0, 2) as months"
            )
        yield pool


@pytest.mark.parametrize("seed", range(4))
async def test_if_the_detaching_process_dies_every_event_counts_once(
    seed: int, pool: Pool, database_url: str, redis_url: str
) -> None:
    async with Redis.from_url(redis_url) as redis:
        walk = Walk(seed, pool, database_url, redis)
        for _ in range(12):
            act = walk.chance.choice(
                (walk.record, walk.record, walk.detach, walk.attach)
            )
            await act()
            assert [] == await _wrong(pool)
            if walk.chance.random() < 0.3:
                await make(pool)
                assert [] == await _wrong(pool)
        await walk.attach_from(_MONTHS[0])

    await make(pool)
    assert [] == await _wrong(pool) + await wrong_facets(pool)
    async with pool.acquire() as connection:
        assert 0 == await connection.fetchval("select count(*) from counter_base")
        assert 0 == await connection.fetchval("select count(*) from ledger_base")
        booked = "select sum(recorded + repeats + quarantined)::int from ledger"
        assert walk.sent == (await connection.fetchval(booked) or 0)


async def _wrong(pool: Pool) -> list[object]:
    async with pool.acquire() as connection:
        return list(await miscounted(connection))
