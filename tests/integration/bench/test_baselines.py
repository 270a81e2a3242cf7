"""The programs that Reftide is measured beside keep what it keeps."""

from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import orjson
import pytest
from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from ingest.contracts.directory import LinkRecord
from scripts.bench.baselines.clicks import Click, ClickWriter
from scripts.bench.environment.servers import planted
from scripts.bench.load import traffic
from scripts.bench.load.drain import drained, fill
from scripts.environment import Environment
from workers.enrich import build_enrichers

CLICKS = 60

#: Of the rest: ids and places in the stream are a run's own, visitors are hashed with a
#: secret, and clicks again within the hour are looked for by Reftide only.
_ALIKE = (
    "kind, is_test, is_bot, is_duplicate, quantity, workspace_id, link_id, program_id,"
    " partner_id, dialect, page_url, session, country, region, city, device, os, browser,"
    " referrer_host, properties::text"
)


@pytest.fixture
async def environment(redis_url: str, database_url: str) -> Environment:
    variables = {
        "REDIS_URL": redis_url,
        "DATABASE_URL": database_url,
        "REFTIDE_SECRET": "a secret of the tests",
    }
    return Environment(variables, lambda: 0.0)


@pytest.fixture
async def links(environment: Environment) -> list[LinkRecord]:
    return await planted(environment, 3)


@pytest.fixture
async def pool(
    links: list[LinkRecord], database_url: str
) -> AsyncIterator["asyncpg.Pool[asyncpg.Record]"]:
    async with asyncpg.create_pool(database_url, min_size=1, max_size=2) as pool:
        yield pool


async def kept(pool: "asyncpg.Pool[asyncpg.Record]") -> list[Mapping[str, Any]]:
    """What is recorded, in order; and then nothing is."""
    rows = await pool.fetch(f"select {_ALIKE} from events order by id")  # noqa: S608
    await pool.execute("truncate events, visits, customers")
    return [dict(row) for row in rows]


def as_a_rival_takes_it(number: int, body: bytes) -> Click:
    said = orjson.loads(body)
    return Click(
        id=uuid7(),
        affiliate_url=said.pop("affiliate_url"),
        page_url=said.pop("page_url"),
        referrer_url=said.pop("referrer_url"),
        session=said.pop("session_id"),
        ip=traffic.address(number),
        user_agent=said.pop("user_agent"),
        properties=orjson.dumps(said).decode(),
    )


async def test_a_rival_keeps_the_rows_that_reftide_keeps(
    environment: Environment,
    links: list[LinkRecord],
    pool: "asyncpg.Pool[asyncpg.Record]",
    redis_url: str,
) -> None:
    async with Redis.from_url(redis_url) as redis:
        await redis.flushdb()  # the demo workspace comes with a click
        await fill(redis, links, CLICKS)
    await drained(environment, build_enrichers(None), CLICKS)
    ours = await kept(pool)

    writer = await ClickWriter.open(pool)
    for number, body in enumerate(
        traffic.bodies([link.code for link in links])[:CLICKS]
    ):
        await writer.write(as_a_rival_takes_it(number, body))

    assert ours == await kept(pool)
    assert CLICKS == len(ours)


async def test_a_rival_has_a_customer_and_counts_the_link(
    links: list[LinkRecord], pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    writer = await ClickWriter.open(pool)
    body = traffic.bodies([link.code for link in links])[1]
    click = as_a_rival_takes_it(1, body)

    await writer.write(click)

    code = parse_qs(urlsplit(click.affiliate_url).query)["aff"][0]
    assert [(code, 1)] == [
        tuple(row)
        for row in await pool.fetch("select code, clicks from links where clicks > 0")
    ]
    assert click.id == await pool.fetchval("select id from customers")
