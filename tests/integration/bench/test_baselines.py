"""The programs that Reftide is measured beside keep what it keeps."""

from collections.abc import AsyncIterator, Mapping
from itertools import islice
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import orjson
import pytest

from ingest.contracts.directory import LinkRecord
from scripts.bench.baselines.clicks import Click, ClickWriter
from scripts.bench.environment.servers import planted
from scripts.bench.load import traffic
from scripts.bench.load.events import envelopes, unix_ms
from scripts.environment import Environment
from tests.support.workers.recording import record
from workers.postgres.database import open_pool

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
    return Click.of(orjson.loads(body), traffic.address(number))


async def test_a_rival_keeps_the_rows_that_reftide_keeps(
    environment: Environment,
    links: list[LinkRecord],
    pool: "asyncpg.Pool[asyncpg.Record]",
    database_url: str,
) -> None:
    async with open_pool(database_url, size=2) as recording:
        await record(recording, *islice(envelopes(links), CLICKS), now=unix_ms())
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
