"""Affitor's leads without a key name customers of servers; what servers send goes first."""

from typing import Any

import pytest

from tests.support.directory import miscounted
from tests.support.eventually import eventually
from tests.support.servers.installation import Installation, elsewhere
from workers.publish.publisher import publish_changes

KEY = {"Authorization": "Bearer YOUR_API_KEY"}
#: The attacker's link, and the honest partner's.
THEIRS, OURS = "jane", "PARTNER123"


@pytest.fixture
def site(site: Installation) -> Installation:
    """One whose worker runs."""
    site.start_worker()
    return site


async def post(
    site: Installation, path: str, *, has_key: bool = False, **body: Any
) -> Any:
    headers = KEY if has_key else elsewhere()
    answer = await site.edges[0].post(path, json=body, headers=headers)
    assert 200 == answer.status, await answer.text()
    return await answer.json()


async def click(site: Installation, code: str) -> str:
    url = f"https://yoursite.com/?aff={code}"
    return str((await post(site, "/api/v1/track/click", affiliate_url=url))["click_id"])


async def hijack(site: Installation) -> None:
    """An attacker names the customer of a shop in a lead of a click of his own."""
    bait = await click(site, THEIRS)
    lead = {"click_id": bait, "customer_key": "victim"}
    await post(site, "/api/v1/track/lead", **lead)
    await published(site)


async def published(site: Installation) -> None:
    """Wait until all is recorded, and edges can read it."""
    await site.rests()

    async def is_published() -> bool:
        waiting = await site.rows("select count(*)::int from directory_changes")
        return waiting == [(0,)]

    await eventually(is_published)


async def counted(site: Installation) -> dict[str, tuple[int, int, int]]:
    assert [] == await miscounted(site.database)
    rows = await site.rows(
        "select code, leads, unverified_leads, sales from links"
        " where leads + unverified_leads + sales > 0"
    )
    return {code: (leads, unverified, sales) for code, leads, unverified, sales in rows}


async def test_a_server_reports_the_lead_of_a_customer_that_somebody_named_before(
    site: Installation,
) -> None:
    await hijack(site)
    visit = await click(site, OURS)

    lead = {"click_id": visit, "customer_key": "victim"}
    await post(site, "/api/v1/track/lead", has_key=True, **lead)
    sold = {"customerExternalId": "victim", "amount": 4999}
    await post(site, "/track/sale", has_key=True, **sold)
    await published(site)

    assert {THEIRS: (0, 1, 0), OURS: (1, 0, 1)} == await counted(site)


async def test_a_direct_sale_brings_its_lead_whoever_named_the_customer_before(
    site: Installation,
) -> None:
    await hijack(site)
    visit = await post(site, "/track/click", domain="go.yoursite.com", key="alice")

    sold = {"customerExternalId": "victim", "amount": 4999, **visit}
    answer = await post(site, "/track/sale", has_key=True, **sold)
    await published(site)

    assert "victim" == answer["customer"]["externalId"]
    assert {THEIRS: (0, 1, 0), "alice": (1, 0, 1)} == await counted(site)


async def test_a_link_that_only_a_browser_named_refuses_no_server(
    site: Installation,
) -> None:
    await hijack(site)
    await site.database.execute(
        "update links set is_active = false where code = $1", THEIRS
    )
    await publish_changes(site.database, site.redis)

    lead = {"customer_key": "victim", "program_id": 77}
    await post(site, "/api/v1/track/lead", has_key=True, **lead)
    await published(site)

    assert [("victim", "lead")] == await site.rows(
        "select external_id, keyed_status::text from customers"
        " where external_id is not null"
    )
