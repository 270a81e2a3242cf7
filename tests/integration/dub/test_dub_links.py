"""The vendor's own Python client, unmodified, makes links, then reports a lead by one."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from dub import Dub
from dub.models import errors

from tests.support.control.api import Client, serving
from tests.support.control.proxy import a_proxy
from tests.support.eventually import eventually
from tests.support.servers.cli import Cli
from tests.support.servers.installation import Installation, elsewhere
from workers.publish.publisher import PARTS, publish_changes
from workers.publish.retention import Retention

DOMAIN = "go.yoursite.com"


@dataclass
class Shop:
    """An installation whose management routes are served, behind one address."""

    site: Installation
    dub: Dub
    control: Client

    async def publish(self) -> None:
        """What a worker does twice a second."""
        await publish_changes(
            self.site.database, self.site.redis, Retention(), list(PARTS)
        )


@pytest.fixture
async def shop(site: Installation) -> AsyncIterator[Shop]:
    cli = Cli(site.variables)
    made = await asyncio.to_thread(
        cli.document, "keys", "add", "--scopes", "*", "--workspace", "demo"
    )
    async with (
        serving(cli) as control,
        a_proxy(site.edges[0].make_url(""), control.make_url("")) as url,
        Dub(token=made["secret"], server_url=url) as dub,
    ):
        yield Shop(site, dub, control)


async def test_a_link_that_the_client_creates_earns_a_lead_that_it_tracks(
    shop: Shop,
) -> None:
    made = await shop.dub.links.create_async(
        request={
            "url": "https://yoursite.com/spring",
            "domain": DOMAIN,
            "key": "spring",
            "external_id": "e-1",
        }
    )
    assert made is not None
    assert (DOMAIN, "spring", f"https://{DOMAIN}/spring") == (
        made.domain,
        made.key,
        made.short_link,
    )
    await shop.publish()

    clicks: list[str] = []

    async def clicked() -> bool:
        answer = await shop.site.edges[0].post(
            "/track/click",
            json={"domain": DOMAIN, "key": "spring"},
            headers=elsewhere(),
        )
        clicks.extend(filter(None, [(await answer.json()).get("clickId")]))
        return bool(clicks)

    await eventually(clicked, within=10)
    lead = await shop.dub.track.lead_async(
        request={
            "click_id": clicks[0],
            "event_name": "Sign up",
            "customer_external_id": "user_7",
        }
    )
    assert lead is not None
    assert lead.link is not None
    assert made.id == lead.link.id


async def test_links_are_got_listed_updated_upserted_and_switched_off(
    shop: Shop,
) -> None:
    links: Any = shop.dub.links
    first = await links.create_async(
        request={"url": "https://a.example/", "utm_source": "x"}
    )
    assert 7 == len(first.key)
    assert "https://a.example/?utm_source=x" == first.url

    second = await links.upsert_async(
        request={"url": "https://b.example/", "key": "bee"}
    )
    same = await links.upsert_async(
        request={"url": "https://b.example/", "expires_at": "2030-01-01T00:00:00Z"}
    )
    assert (second.id, "bee") == (same.id, same.key)
    assert same.expires_at.startswith("2030-01-01")

    changed = await links.update_async(
        link_id=second.id,
        request_body={"url": "https://c.example/", "external_id": "x1"},
    )
    assert "https://c.example/" == changed.url
    for named in (
        {"link_id": second.id},
        {"external_id": "x1"},
        {"domain": second.domain, "key": "bee"},
    ):
        assert second.id == (await links.get_async(request=named)).id

    page = await links.list_async(request={"page_size": 2})
    assert [second.id, first.id] == [each.id for each in page.result]
    found = await links.list_async(
        request={"search": "c.example", "domain": second.domain}
    )
    assert [second.id] == [each.id for each in found.result]
    behind = await links.list_async(
        request={"starting_after": second.id, "page_size": 1}
    )
    assert [first.id] == [each.id for each in behind.result]

    gone = await links.delete_async(link_id="ext_x1")
    assert second.id == gone.id
    assert (await links.get_async(request={"link_id": second.id})).archived
    for with_off, ids in ((False, [first.id]), (True, [second.id, first.id])):
        asked = {"domain": first.domain, "search": "example", "show_archived": with_off}
        listed = await links.list_async(request=asked)
        assert ids == [each.id for each in listed.result if each.id in ids]
        assert len(listed.result) == await links.count_async(request=asked)


async def test_many_are_created_and_one_that_is_taken_is_told(shop: Shop) -> None:
    made: Any = await shop.dub.links.create_many_async(
        request=[
            {"url": "https://a.example/", "key": "many-1"},
            {"url": "https://a.example/", "key": "many-1"},
            {"url": "https://a.example/", "password": "x"},
        ]
    )
    assert "many-1" == made[0].key
    assert ["conflict", "unprocessable_entity"] == [each.code for each in made[1:]]


async def test_many_are_changed_or_none_and_many_are_switched_off(shop: Shop) -> None:
    links: Any = shop.dub.links
    for key in ("one", "two"):
        request = {"url": "https://a.example/", "key": key, "external_id": f"e-{key}"}
        await links.create_async(request=request)
    first, second = [
        await links.get_async(request={"external_id": f"e-{key}"})
        for key in ("one", "two")
    ]
    to_b = {"url": "https://b.example/"}
    changed = await links.update_many_async(
        request={"link_ids": [second.id, first.id], "data": to_b}
    )
    assert [(second.id, to_b["url"]), (first.id, to_b["url"])] == [
        (each.id, each.url) for each in changed
    ]
    for names, data, error in (
        ([first.id, "lnk_nobody"], {"url": "https://c.example/"}, errors.NotFound),
        ([first.id], {"url": "javascript:alert(1)"}, errors.UnprocessableEntity),
        ([], to_b, errors.UnprocessableEntity),
    ):
        with pytest.raises(error):
            await links.update_many_async(request={"link_ids": names, "data": data})
    assert to_b["url"] == (await links.get_async(request={"link_id": first.id})).url
    named = {"external_ids": ["e-one"], "data": {"url": "https://d.example/"}}
    [one] = await links.update_many_async(request=named)
    assert (first.id, "https://d.example/") == (one.id, one.url)

    for names, count in (
        ([first.id, "ext_e-one", f" {first.id} ", "lnk_nobody", "ext_nobody"], 1),
        ([first.id, "ext_e-two"], 1),
        ([first.id, second.id], 0),
    ):
        gone = await links.delete_many_async(request={"link_ids": names})
        assert count == gone.deleted_count
    for each in (first, second):
        assert (await links.get_async(request={"link_id": each.id})).archived


async def test_errors_are_those_that_the_client_knows(shop: Shop) -> None:
    links: Any = shop.dub.links
    with pytest.raises(errors.NotFound):
        await links.get_async(request={"link_id": "lnk_nobody"})
    with pytest.raises(errors.UnprocessableEntity):
        await links.create_async(request={"url": "javascript:alert(1)"})
    await links.create_async(request={"url": "https://a.example/", "key": "taken"})
    with pytest.raises(errors.Conflict):
        await links.create_async(request={"url": "https://a.example/", "key": "taken"})


async def test_partners_are_made_and_listed(shop: Shop) -> None:
    partners: Any = shop.dub.partners
    request = {"email": "pat@example.com", "name": "Pat", "tenant_id": "pat"}
    made = await partners.create_async(request=request)
    again = await partners.create_async(request=request)
    listed = await partners.list_async(request={"email": "pat@example.com"})

    assert made.id == again.id
    assert [("Pat", made.id)] == [(each.name, each.id) for each in listed]


async def test_analytics_are_what_the_client_reads(shop: Shop) -> None:
    for group in (
        *("count", "timeseries", "countries", "devices", "browsers", "referers"),
        "top_links",
    ):
        for event in ("clicks", "leads", "sales", "composite"):
            found = await shop.dub.analytics.retrieve_async(
                request={"group_by": group, "event": event, "interval": "all"}
            )
            assert found is not None, group
    with pytest.raises(errors.UnprocessableEntity):
        await shop.dub.analytics.retrieve_async(request={"group_by": "cities"})
