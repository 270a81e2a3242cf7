"""`/try`, on an edge with and without the demo workspace."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from ingest.browser.scripts import script
from ingest.contracts.apikey import hashes
from ingest.contracts.directory import (
    CustomerRecord,
    KeyRecord,
    api_key_key,
    customer_key,
    link_id_key,
)
from tests.support.edge.showcase import LINK, SECRET, WORKSPACE, Client, an_edge

PATHS = ("/try", "/try/page.css", "/try/page.js", "/try/customers?id=try-12")
#: Known to anybody.
DEMO = KeyRecord(key_uuid=UUID(int=60), workspace_uuid=WORKSPACE, scopes=["track"])


@pytest.fixture
async def client(redis_url: str, tmp_path: Path) -> AsyncIterator[Client]:
    async with an_edge(redis_url, tmp_path) as client:
        yield client


@pytest.fixture
async def planted(redis_url: str) -> AsyncIterator[Redis]:
    """A directory with the demo workspace and one customer whom a link earned."""
    async with Redis.from_url(redis_url) as redis:
        for each in hashes([SECRET.encode()], "YOUR_API_KEY"):
            await redis.set(api_key_key(each), DEMO.encode())
        await redis.set(link_id_key(LINK.link_uuid), LINK.encode())
        earned = CustomerRecord(
            click_uuid=uuid7(), link_uuid=LINK.link_uuid, is_recorded=True
        )
        for name in ("try-12", "somebody"):
            await redis.set(customer_key(WORKSPACE, name), earned.encode())
        yield redis


@pytest.mark.parametrize("path", PATHS)
async def test_without_the_demo_workspace_there_is_no_page(
    client: Client, path: str
) -> None:
    assert 404 == (await client.get(path)).status


async def test_the_page_loads_nothing_from_elsewhere(
    planted: Redis, client: Client
) -> None:
    page = await client.get("/try")
    text = await page.text()
    policy = page.headers["Content-Security-Policy"]

    assert "default-src 'none'" in policy
    assert not {"unsafe", "http"} & {*policy.replace("-", " ").split()}
    assert "//" not in text
    core = script("t-core.js")
    assert f'src="{core.path}" integrity="{core.integrity}"' in text
    for path in PATHS[1:3]:
        assert 200 == (await client.get(path)).status


async def test_the_page_is_told_who_earned_the_customers_it_made_up(
    planted: Redis, client: Client
) -> None:
    asked = [("id", each) for each in ("try-12", "try-13", "somebody", "try-12/../x")]

    answer = await client.get("/try/customers", params=asked)

    assert {"try-12": LINK.partner_code} == await answer.json()
