"""Many equal leads at once, over two edges: one of them is the lead, and counts."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError

from tests.support.eventually import eventually
from tests.support.servers.installation import (
    Client,
    Installation,
    an_installation,
    elsewhere,
)
from tests.support.servers.valkey import Valkey, running_valkey

MANY = 200
Answer = tuple[int, Any]


@dataclass(frozen=True, slots=True)
class Vendor:
    """How a vendor's lead of one click is reported, and what one and others are told."""

    path: str
    body: dict[str, Any]
    #: The body's field that holds the click id.
    click: str
    key: str | None
    #: The status of the answer to a repeat; None: it is answered like the first.
    again: int | None = None
    #: Whether the body names a customer.
    has_customer: bool = True


BROWSER = Vendor(
    path="/api/v1/track/lead",
    body={"customer_key": "user_001", "email": "alice@example.com"},
    click="click_id",
    key=None,
    again=400,
)
VENDORS = {
    "affitor": BROWSER,
    "affitor-click-alone": Vendor(
        "/api/v1/track/lead", {}, "click_id", None, 400, has_customer=False
    ),
    "affitor-server": Vendor(
        BROWSER.path, BROWSER.body, "click_id", "YOUR_API_KEY", 400
    ),
    "refport": Vendor(
        "/api/track/lead",
        {"eventName": "Sign Up", "customerExternalId": "user_001"},
        "clickId",
        "YOUR_API_KEY",
    ),
    "affixo": Vendor(
        "/v1/track/lead",
        {"external_id": "signup_001"},
        "visitor_id",
        "sa_live_demo",
        has_customer=False,
    ),
}


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running_valkey() as server:
        yield server


async def a_click(site: Installation) -> str:
    body = {"affiliate_url": "https://yoursite.com/?aff=PARTNER123"}
    path = "/api/v1/track/click"
    answer = await site.edges[0].post(path, json=body, headers=elsewhere())
    return str((await answer.json())["click_id"])


async def report(edge: Client, vendor: Vendor, click: str) -> Answer:
    """One lead; status 0 where the edge said nothing."""
    headers = {"Authorization": f"Bearer {vendor.key}"} if vendor.key else elsewhere()
    body = {**vendor.body, vendor.click: click}
    try:
        answer = await edge.post(vendor.path, json=body, headers=headers)
        return answer.status, await answer.json()
    except ClientError:
        return 0, None


async def at_once(
    site: Installation, vendor: Vendor, click: str, count: int
) -> list[Answer]:
    async with asyncio.TaskGroup() as tasks:
        asked = [
            tasks.create_task(report(site.edges[number % 2], vendor, click))
            for number in range(count)
        ]
    return [task.result() for task in asked]


async def is_recorded_once(site: Installation, vendor: Vendor) -> None:
    led = "select count(*)::int from events where kind = 'lead'"
    named = "select count(*)::int from customers where external_id is not null"
    counted = "select clicks, leads from links where code = 'PARTNER123'"
    assert [(1,)] == await site.rows(led)
    assert [(int(vendor.has_customer),)] == await site.rows(named)
    assert [(1, 1)] == await site.rows(counted)
    assert [] == await site.rows("select reason from quarantine")


@pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS)
async def test_of_many_equal_leads_one_is_the_first(
    vendor: Vendor, site: Installation
) -> None:
    click = await a_click(site)

    answers = await at_once(site, vendor, click, MANY)
    site.start_worker()
    await site.rests()

    firsts, repeats = (1, MANY - 1) if vendor.again else (MANY, 0)
    expected = {200: firsts} | ({vendor.again: repeats} if vendor.again else {})
    assert expected == Counter(status for status, _ in answers)
    told = {str(body) for status, body in answers if status == 200}
    assert 1 == len(told)
    # A repeat is appended as what it is: the first, again.
    assert 2 == len({envelope.id for envelope in await site.appended()})
    assert [(MANY - 1,)] == await site.rows("select sum(repeats)::int from ledger")
    await is_recorded_once(site, vendor)


@pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS)
async def test_equal_leads_are_one_though_redis_restarts_and_forgets(
    vendor: Vendor, valkey: Valkey, database_url: str, tmp_path: Path
) -> None:
    async with an_installation(valkey.url, database_url, tmp_path) as site:
        click = await a_click(site)
        before = await at_once(site, vendor, click, MANY // 4)
        async with asyncio.TaskGroup() as tasks:
            during = tasks.create_task(at_once(site, vendor, click, MANY // 4))
            await asyncio.to_thread(valkey.kill)
            tasks.create_task(at_once(site, vendor, click, 10))
            await asyncio.to_thread(valkey.start)

        async def is_back() -> bool:
            status, _ = await report(site.edges[0], vendor, click)
            other, _ = await report(site.edges[1], vendor, click)
            return {status, other} <= {200, vendor.again}

        await eventually(is_back)
        # As one does that kept nothing of what it was told last.
        await site.redis.delete(*await site.redis.keys("rt:claim:*"))
        after = await at_once(site, vendor, click, MANY // 4)
        site.start_worker()

        async def is_there() -> bool:
            return 3 <= len({envelope.id for envelope in await site.appended()})

        # Without the hints a repeat is told that it is the first; Postgres knows.
        await eventually(is_there)
        await site.rests()
        said = {status for status, _ in (*before, *during.result(), *after)}
        assert said <= {200, vendor.again, 503}
        assert 200 in {status for status, _ in after}
        await is_recorded_once(site, vendor)
