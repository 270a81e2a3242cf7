"""A history of several months, and whether it counts the same while months go and come."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from uuid_utils.compat import uuid7

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import Envelope
from scripts.services.maintain import partitions
from scripts.services.maintain.partitions import Month
from tests.support.directory import (
    LINKS,
    NOON_MS,
    a_click,
    a_lead,
    a_sale,
    furnish,
    miscounted,
)
from tests.support.workers.replaying import Site
from workers.enrich import build_enrichers
from workers.model.batch import Delivery, Entry
from workers.pipeline.pipeline import Pipeline
from workers.postgres.database import Pool, open_pool
from workers.redis_io.connections import for_jobs

DAY_MS = 24 * 3600 * 1000
APRIL, MAY = NOON_MS + 30 * DAY_MS, NOON_MS + 60 * DAY_MS
_ENRICH = build_enrichers(None)
_ENTRIES = count()


@asynccontextmanager
async def a_site(redis_url: str, database_url: str) -> AsyncIterator[Site]:
    """A furnished database, and one shard whose stream is in its first life."""
    async with (
        for_jobs(redis_url) as redis,
        open_pool(database_url, size=6) as pool,
    ):
        async with pool.acquire() as connection:
            await furnish(connection)
            await connection.execute("insert into stream_epochs (shard) values (0)")
        yield Site(redis, pool, redis_url, database_url)


def pipeline(pool: Pool) -> Pipeline:
    return Pipeline(
        pool=pool,
        enrich=_ENRICH,
        consumer="tester",
        clock=lambda: NOON_MS + 400 * DAY_MS,
        new_id=uuid7,
    )


def delivered(*events: Envelope) -> list[Delivery]:
    return [
        Delivery(Entry.of(1, 0, NOON_MS, next(_ENTRIES)), encode(event))
        for event in events
    ]


async def record(pool: Pool, *events: Envelope) -> None:
    deliveries = delivered(*events)
    assert deliveries == await pipeline(pool).process(deliveries)


def a_history() -> list[Envelope]:
    """Clicks, leads and sales in three months, some of them across their ends."""
    events: list[Envelope] = []
    numbers = count(1)
    for at in (NOON_MS, APRIL, MAY):
        for link in LINKS[:4]:
            click = a_click(next(numbers), at=at, link_id=link, session="s")
            who = {"click_id": click.id, "external_id": f"c{next(numbers)}"}
            lead = a_lead(next(numbers), at=at + 9, link_id=link, session="s", **who)
            events += [click, lead, a_sale(next(numbers), at=at + 20 * DAY_MS, **who)]
    return events


async def counters(pool: Pool) -> list[list[tuple[Any, ...]]]:
    """All counters, in some order."""
    tables = (
        "(select id, unique_clicks, clicks, leads, sales from links)", "program_partners", "link_days",
        "link_amounts", "program_partner_amounts",
    )  # fmt: skip
    async with pool.acquire() as connection:
        return [
            sorted(
                tuple(row)
                for row in await connection.fetch(f"select t::text from {table} as t")  # noqa: S608 -- names of ours
            )
            for table in tables
        ]


async def months(pool: Pool) -> list[Month]:
    async with pool.acquire() as connection:
        found = await partitions.months(connection)
    return [month for month in found if month.name < "events_2026"]


async def states(pool: Pool) -> list[str]:
    return [month.state for month in await months(pool)]


async def is_right(site: Site) -> None:
    """Counters and books agree with rows and with what was folded."""
    async with site.pool.acquire() as connection:
        assert [] == await miscounted(connection)
    report = await site.proven()
    assert (True, True, 0) == (report["ok"], report["settled"], report["balance"])
