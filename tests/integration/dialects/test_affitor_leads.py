"""Affitor's leads over HTTP: of its tracker, of servers, provisional ones, and tests."""

from typing import Any

import pytest

from tests.support.directory import miscounted
from tests.support.eventually import eventually
from tests.support.servers.installation import Installation, elsewhere
from workers.postgres.email_key import load_email_key
from workers.publish.publisher import publish_changes

CLICK, LEAD = "/api/v1/track/click", "/api/v1/track/lead"
KEY = {"Authorization": "Bearer YOUR_API_KEY"}
TRACKED = {"success": True, "message": "Lead tracked successfully"}
NOBODY = {"error": "Customer not found. Provide a valid click_id or customer_key."}
STATUS = "Customer status cannot be updated to lead. Current status: "
Answer = tuple[int, Any]


async def click(site: Installation, code: str = "PARTNER123") -> str:
    """A visitor's click; its id."""
    body = {"affiliate_url": f"https://yoursite.com/?aff={code}"}
    answer = await site.edges[0].post(CLICK, json=body, headers=elsewhere())
    return str((await answer.json())["click_id"])


async def lead(site: Installation, *, key: bool = False, **body: Any) -> Answer:
    headers = KEY if key else elsewhere()
    answer = await site.edges[1].post(LEAD, json=body, headers=headers)
    return answer.status, await answer.json()


async def recorded(site: Installation) -> None:
    """Wait until all of it is recorded, and edges can read it."""
    if not site.workers:
        site.start_worker()
    await site.rests()

    async def published() -> bool:
        waiting = await site.rows("select count(*)::int from directory_changes")
        return waiting == [(0,)]

    await eventually(published)


async def test_a_lead_of_the_tracker_is_recorded_once_and_its_address_never(
    site: Installation,
) -> None:
    visitor = await click(site)
    body: dict[str, Any] = {
        "customer_key": "customer_123",
        "email": " User@Example.com",
        "click_id": visitor,
        "click_ids": [visitor],
        "page_url": "https://yoursite.com/welcome",
        "session_id": "sess_1",
        "program_id": 1,
        "has_attribution": True,
        "debug_mode": False,
    }

    first = await lead(site, **body)
    repeats = [await lead(site, **body) for _ in range(2)]
    # Nothing that came without a key stands in the way of a server.
    by_server = [
        await lead(site, key=True, customer_key="customer_123") for _ in range(2)
    ]
    late = await lead(site, **body)
    await recorded(site)

    kept = (400, {"error": STATUS + "lead"})
    assert [(200, TRACKED)] * 2 == [first, by_server[0]]
    assert [kept] * 4 == [*repeats, by_server[1], late]
    counted = "select clicks, leads from links where code = 'PARTNER123'"
    assert [(1, 1)] == await site.rows(counted)
    known = "select external_id, status::text, email from customers"
    assert [("customer_123", "lead", None)] == await site.rows(
        f"{known} where external_id is not null"
    )
    hashed = (await load_email_key(site.database)).hash("user@example.com")
    said = "select email_hash from events where kind = 'lead'"
    assert [(hashed,)] == await site.rows(f"{said} and api_key_id is null")
    for envelope in await site.appended():
        assert "example.com" not in repr(envelope).lower().replace("yoursite.com", "")


async def test_whom_nobody_knows_is_refused_and_not_kept(site: Installation) -> None:
    unknown: list[dict[str, Any]] = [
        {"click_id": "cust_42_1715000000000"},
        {"click_id": "clk_" + "A" * 60},
        {"customer_key": "customer_123"},
        {"click_id": "cust_42_1715000000000", "customer_key": "customer_123"},
    ]
    for body in unknown:
        assert (400, NOBODY) == await lead(site, **body), body
        assert (400, NOBODY) == await lead(site, key=True, **body), body
    assert [] == await site.appended()


async def test_a_token_is_asked_for_nowhere_and_checked_where_it_comes(
    site: Installation,
) -> None:
    body: dict[str, Any] = {"click_id": await click(site)}
    for sent in ("Bearer nobody", "Bearer", "Basic YOUR_API_KEY", ""):
        headers = {"Authorization": sent}
        answer = await site.edges[0].post(LEAD, json=body, headers=headers)
        assert (401, {"error": "Invalid API token"}) == (
            answer.status,
            await answer.json(),
        )

    assert (200, TRACKED) == await lead(site, key=True, **body)


async def test_a_customer_of_another_program_is_refused_to_servers(
    site: Installation,
) -> None:
    visitor = await click(site)
    other: dict[str, Any] = {"click_id": visitor, "additional_data": {"program_id": 2}}

    refused = await lead(site, key=True, **other)
    taken = await lead(
        site, key=True, click_id=visitor, additional_data={"program_id": 1}
    )

    elsewhere_ = {"error": "Customer does not belong to this program"}
    assert (400, elsewhere_) == refused
    assert (200, TRACKED) == taken


async def test_a_click_id_may_come_as_the_customers_key(site: Installation) -> None:
    visitor = await click(site)

    first = await lead(site, customer_key=visitor)
    again = await lead(site, click_id=visitor)
    await recorded(site)

    assert (200, TRACKED) == first
    assert (400, {"error": STATUS + "lead"}) == again
    named = "select count(*)::int from customers where external_id is not null"
    assert [(0,)] == await site.rows(named)
    assert [(1,)] == await site.rows(
        "select leads from links where code = 'PARTNER123'"
    )


async def test_a_status_never_goes_back(site: Installation) -> None:
    visitor = await click(site)
    sale = {
        "customerExternalId": "customer_123",
        "amount": 4900,
        "clickId": visitor,
        "invoiceId": "inv_1",
    }
    sold = await site.edges[0].post("/track/sale", json=sale, headers=KEY)
    assert 200 == sold.status
    await recorded(site)
    names: dict[str, Any] = {"click_id": visitor, "customer_key": "customer_123"}

    by_browser = await lead(site, **names)
    by_server = await lead(site, key=True, **names)

    assert [(400, {"error": STATUS + "conversion"})] * 2 == [by_browser, by_server]


async def test_where_servers_must_confirm_a_browsers_lead_is_provisional(
    site: Installation,
) -> None:
    await site.database.execute(
        "update programs set needs_server_lead = true where number = 1"
    )
    await publish_changes(site.database, site.redis)
    visitor = await click(site)
    names: dict[str, Any] = {"click_id": visitor, "customer_key": "customer_123"}

    provisional = [await lead(site, **names) for _ in range(2)]
    await recorded(site)
    before = await site.rows("select leads from links where code = 'PARTNER123'")
    status = await site.rows(
        "select status::text from customers where external_id is not null"
    )
    confirmed = await lead(site, key=True, **names)
    again = await lead(site, key=True, customer_key="customer_123")
    late = await lead(site, **names)
    await recorded(site)

    for code, answer in provisional:
        assert (200, {"message", "provisional", "success"}) == (code, {*answer})
        assert answer["success"] is answer["provisional"] is True
    assert [(0,)] == before
    assert [("click",)] == status
    assert (200, TRACKED) == confirmed
    assert (400, {"error": STATUS + "lead"}) == again
    assert late[0] in {200, 400}
    kinds = "select kind::text, count(*)::int from events where kind <> 'click'"
    assert [("deferred", 1), ("lead", 1)] == await site.rows(
        f"{kinds} group by kind order by 1"
    )
    assert [(1,)] == await site.rows(
        "select leads from links where code = 'PARTNER123'"
    )


@pytest.mark.parametrize("mode", [True, "true", "TRUE"])
async def test_a_test_lead_is_kept_and_counts_nowhere(
    site: Installation, *, mode: bool | str
) -> None:
    wanted = {"test_mode": mode, "program_id": 1, "event_name": "signup"}

    status, answer = await lead(
        site, customer_key="customer_123", additional_data=wanted
    )
    await recorded(site)

    data = answer.pop("data")
    message = "Test lead event tracked successfully"
    assert (200, {"success": True, "message": message}) == (status, answer)
    assert (1, True) == (data["programId"], data["test_mode"])
    assert isinstance(data["eventId"], int)
    kept = "select name, is_test from events where kind = 'lead'"
    assert [("signup", True)] == await site.rows(kept)
    assert [] == await site.rows("select 1 from customers where external_id <> 'x'")


async def test_without_a_directory_a_lead_is_taken_and_is_the_same_lead_afterwards(
    site: Installation,
) -> None:
    visitor = await click(site)
    names: dict[str, Any] = {"click_id": visitor, "customer_key": "customer_123"}
    await site.redis.delete(*await site.redis.keys("rt:dir:*"))
    in_the_dark = await lead(site, **names)
    *_, taken = await site.appended()
    site.start_worker()
    await site.rests()
    after = await lead(site, **names)
    await recorded(site)

    assert (200, TRACKED) == in_the_dark
    assert taken.request.workspace_id is None
    assert after[0] in {200, 400}
    assert [(1,)] == await site.rows(
        "select leads from links where code = 'PARTNER123'"
    )
    assert [] == await miscounted(site.database)
