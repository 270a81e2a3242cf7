"""Dub over HTTP, on two edges and a worker: clicks, leads, sales, and all of them at once."""

import asyncio
import re
import time
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from aiohttp import ClientResponse

from ingest.contracts.clickid import KeyRing
from ingest.contracts.encoding.envelopes import decode
from ingest.contracts.ids import first_id_at
from ingest.contracts.stream import FIELD, events_key
from tests.support.eventually import eventually
from tests.support.servers.cli import SECRET
from tests.support.servers.installation import Installation, elsewhere

KEY = {"Authorization": "Bearer YOUR_API_KEY"}
COUNTED = "select leads, sales from links where code = 'alice'"


async def click(
    site: Installation, where: Mapping[str, str] | None = None, edge: int = 0
) -> str:
    """The click id that a visitor is told; a new visitor's unless it says where it is."""
    body = {"domain": "www.go.yoursite.com", "key": "alice"}
    answer = await site.edges[edge].post(
        "/track/click", json=body, headers=where or elsewhere()
    )
    assert 200 == answer.status
    return str((await answer.json())["clickId"])


async def track(
    site: Installation, what: str, edge: int = 0, **body: Any
) -> ClientResponse:
    return await site.edges[edge].post(f"/track/{what}", json=body, headers=KEY)


async def lead(site: Installation, edge: int = 0, **changes: Any) -> ClientResponse:
    body = {"eventName": "Sign up", "customerExternalId": "user_1", **changes}
    return await track(site, "lead", edge, **body)


async def sale(site: Installation, edge: int = 0, **changes: Any) -> ClientResponse:
    body = {"customerExternalId": "user_1", "amount": 4999, **changes}
    return await track(site, "sale", edge, **body)


async def all_of(
    calls: Sequence[Coroutine[Any, Any, ClientResponse]],
) -> list[Any]:
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(call) for call in calls]
    answers = [task.result() for task in running]
    assert {200} == {answer.status for answer in answers}
    return [await answer.json() for answer in answers]


# Clicks ----------------------------------------------------------------------------------


async def test_a_visitor_is_told_the_same_click_id_for_an_hour(
    site: Installation,
) -> None:
    where = elsewhere()
    first = await click(site, where)

    assert re.fullmatch("[A-Za-z0-9]{16}", first)
    assert first == await click(site, where, edge=1)
    # A duplicate leaves nothing more than the first one did.
    assert 1 == len(await site.redis.keys("rt:new:click:*"))
    assert first != await click(site)


async def test_a_click_id_that_expired_is_unknown_and_a_late_one_is_not(
    site: Installation,
) -> None:
    keys, now = KeyRing([SECRET.encode()]), time.time_ns() // 1_000_000
    late, expired = (
        keys.short(first_id_at(now - days * 24 * 3600 * 1000)) for days in (27, 61)
    )

    assert 200 == (await lead(site, clickId=late)).status
    assert 404 == (await lead(site, clickId=expired)).status


async def test_a_link_that_nobody_has_is_named(site: Installation) -> None:
    answer = await site.edges[0].post(
        "/track/click", json={"domain": "WWW.Other.example", "key": "alice"}
    )

    error = (await answer.json())["error"]
    expected = "Link not found for domain: other.example and key: alice."
    assert (404, "not_found", expected) == (
        answer.status,
        error["code"],
        error["message"],
    )


async def test_browsers_may_ask_and_call_from_anywhere(site: Installation) -> None:
    asked = await site.edges[0].options("/track/click")

    assert 204 == asked.status
    names = ("Origin", "Methods", "Headers")
    allowed = [asked.headers[f"Access-Control-Allow-{name}"] for name in names]
    assert [
        "*",
        "POST, OPTIONS",
        "Content-Type, Authorization, Idempotency-Key",
    ] == allowed


# Leads and sales -------------------------------------------------------------------------


async def test_of_two_hundred_equal_leads_one_is_told_that_it_is_the_first(
    site: Installation,
) -> None:
    click_id = await click(site)

    told = await all_of(
        [lead(site, number % 2, clickId=click_id) for number in range(200)]
    )

    firsts = [answer for answer in told if answer["link"]]
    assert 1 == len(firsts)
    assert [{**firsts[0], "link": None}] * 199 == [
        answer for answer in told if not answer["link"]
    ]
    site.start_worker()
    await site.rests()
    assert [(1, 0)] == await site.rows(COUNTED)
    known = "select count(*) from customers where external_id is not null"
    assert [(1,)] == await site.rows(known)


async def test_of_two_hundred_sales_of_one_invoice_there_is_one(
    site: Installation,
) -> None:
    await all_of([lead(site, clickId=await click(site))])

    told = await all_of(
        [
            sale(site, number % 2, invoiceId="INV_1", amount=number + 1)
            for number in range(200)
        ]
    )

    assert 1 == len({answer["sale"]["amount"] for answer in told})
    site.start_worker()
    await site.rests()
    assert [(1, 1)] == await site.rows(COUNTED)
    paid = "select amount from link_amounts where currency = 'USD'"
    assert [(told[0]["sale"]["amount"],)] == await site.rows(paid)


async def test_every_customer_of_one_click_keeps_the_link(site: Installation) -> None:
    click_id = await click(site)
    people = ["user_1", "user_2", "user_3"]

    for name in people:
        await all_of([lead(site, clickId=click_id, customerExternalId=name)])
        (sold,) = await all_of([sale(site, 1, customerExternalId=name)])
        assert name == sold["customer"]["externalId"]
    site.start_worker()
    await site.rests()
    assert [(3, 3)] == await site.rows(COUNTED)


async def test_older_clients_name_the_customer_otherwise(site: Installation) -> None:
    click_id = await click(site)

    for name in ("externalId", "customerId"):
        body = {"eventName": name, "clickId": click_id, name: "user_1"}
        (told,) = await all_of([track(site, "lead", **body)])
        assert "user_1" == told["customer"]["externalId"]


async def test_what_is_left_of_the_limit_stands_on_every_answer(
    site: Installation,
) -> None:
    answers = [
        await lead(site, clickId="nope"),
        await lead(site, 1, eventName=""),
        await sale(site),
    ]

    assert [404, 422, 200] == [answer.status for answer in answers]
    limits = {answer.headers["X-RateLimit-Limit"] for answer in answers}
    left = [int(answer.headers["X-RateLimit-Remaining"]) for answer in answers]
    assert ({"600"}, [599, 598, 597]) == (limits, left)
    assert all("X-RateLimit-Reset" in answer.headers for answer in answers)


async def test_another_workspace_s_click_is_unknown(site: Installation) -> None:
    click_id = await click(site)
    stranger = {"Authorization": "Bearer dub_nobody"}
    body = {
        "eventName": "Sign up",
        "customerExternalId": "user_1",
        "clickId": click_id,
    }

    answer = await site.edges[0].post("/track/lead", json=body, headers=stranger)

    assert 401 == answer.status
    assert "X-RateLimit-Limit" not in answer.headers


# What is on its way ----------------------------------------------------------------------


async def test_a_lead_waits_for_a_click_that_is_on_some_edge_s_disk(
    site: Installation,
) -> None:
    click_id = await click(site)
    # As if an edge had told this click id while Redis was away, and kept the click.
    where, kept = await _taken_out(site)
    for mark in await site.redis.keys("rt:new:click:*"):
        await site.redis.delete(mark)

    answer = await lead(site, edge=1, clickId=click_id)
    assert 200 == answer.status
    told = await answer.json()
    assert (click_id, None) == (told["click"]["id"], told["link"])
    site.start_worker()

    async def is_parked() -> bool:
        parked = await site.rows("select reason::text from quarantine")
        return [("unknown_click",)] == parked

    await eventually(is_parked)
    await site.redis.xadd(where, kept)

    async def is_counted() -> bool:
        return [(1, 0)] == await site.rows(COUNTED)

    await eventually(is_counted)
    assert [("redriven",)] == await site.rows("select status::text from quarantine")


async def test_a_click_id_that_nobody_issued_is_unknown(site: Installation) -> None:
    answer = await lead(site, clickId="aB3dE5fG7hJ9kL1m")

    assert 404 == answer.status
    assert [] == await site.appended()


async def _taken_out(site: Installation) -> tuple[str, dict[Any, Any]]:
    """The one click in the stream, which is not there any more."""
    for shard in range(4):
        key = events_key(shard)
        for entry_id, fields in await site.redis.xrange(key):
            if decode(fields[FIELD]).request.dialect == "dub":
                await site.redis.xdel(key, entry_id)
                return key, fields
    raise AssertionError("there is no click in the stream")
