"""What Dub's clients in web pages and apps call, on two edges and a worker."""

from typing import Any

import pytest

from ingest.contracts.apikey import hashes
from tests.support.directory import miscounted
from tests.support.servers.cli import SECRET
from tests.support.servers.installation import Installation, elsewhere
from workers.publish.publisher import publish_changes

KEY, SECRET_KEY = "dub_pk_demo_page", "YOUR_API_KEY"
ORIGIN = "https://shop.example"
LEAD, SALE = "/track/lead/client", "/track/sale/client"
_COUNTED = (
    "select leads::int, sales::int, coalesce((select sum(amount) from link_amounts"
    " where link_id = links.id), 0)::int from links where code = 'alice'"
)
Answer = tuple[int, Any]


async def _add_key(site: Installation, *scopes: str) -> None:
    [key_hash] = hashes([SECRET.encode()], KEY)
    await site.database.execute(
        "insert into api_keys (id, workspace_id, key_hash, last_four, scopes, origins)"
        " select gen_random_uuid(), id, $1, 'page', $2, $3 from workspaces where name = 'demo'",
        key_hash,
        list(scopes),
        [ORIGIN],
    )
    await publish_changes(site.database, site.redis)


async def _page(
    site: Installation, path: str, *, key: str = KEY, origin: str = ORIGIN, **body: Any
) -> Answer:
    headers = {"Origin": origin, **elsewhere()}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    said = {name.rstrip("_"): value for name, value in body.items()}
    answer = await site.edges[1].post(path, json=said, headers=headers)
    return answer.status, await answer.json()


async def _click(site: Installation) -> str:
    _, answer = await _page(
        site, "/track/click", key="", domain="go.yoursite.com", key_="alice"
    )
    return str(answer["clickId"])


async def _recorded(site: Installation) -> None:
    if not site.workers:
        site.start_worker()
    await site.rests()
    assert [] == await miscounted(site.database)


async def test_a_page_s_lead_counts_and_its_sale_waits_for_a_server(
    site: Installation,
) -> None:
    await _add_key(site, "publish", "publish_sale")
    token = await _click(site)

    led = await _page(
        site, LEAD, clickId=token, eventName="Sign up", customerExternalId="cus_1"
    )
    sale = {"clickId": token, "customerExternalId": "cus_1", "amount": 4900}
    sold = await _page(site, SALE, **sale, currency="jpy", invoiceId="INV_1")
    await _recorded(site)
    of_page = await site.rows(_COUNTED)
    by_server = await site.edges[0].post(
        "/track/sale",
        json={**sale, "currency": "jpy", "invoiceId": "INV_1"},
        headers={"Authorization": f"Bearer {SECRET_KEY}"},
    )
    await _recorded(site)

    assert (200, "alice") == (led[0], led[1]["link"]["key"])
    assert (200, 4900, "jpy") == (
        sold[0],
        sold[1]["sale"]["amount"],
        sold[1]["sale"]["currency"],
    )
    assert [(1, 0, 0)] == of_page
    assert 200 == by_server.status
    [(leads, sales, worth)] = await site.rows(_COUNTED)
    assert (1, 4900) == (sales, worth)
    assert leads >= 1


async def test_a_page_is_not_told_who_a_customer_is(site: Installation) -> None:
    await _add_key(site, "publish")
    token = await _click(site)
    said = {"eventName": "Sign up", "customerExternalId": "cus_1"}
    await site.edges[0].post(
        "/track/lead",
        json={**said, "clickId": token, "customerEmail": "john@example.com"},
        headers={"Authorization": f"Bearer {SECRET_KEY}"},
    )

    status, answer = await _page(
        site, LEAD, clickId=token, eventName="Again", customerExternalId="cus_1"
    )

    assert 200 == status
    assert None is answer["customer"]["email"]
    assert "john" not in str(answer)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"key": SECRET_KEY}, (400, "bad_request")),
        ({"key": "dub_pk_nobody"}, (401, "unauthorized")),
        ({"key": ""}, (401, "unauthorized")),
        ({"origin": "https://evil.example"}, (403, "forbidden")),
        ({"clickId": ""}, (400, "bad_request")),
        ({"clickId": "aaaaaaaaaaaaaaaa"}, (404, "not_found")),
    ],
)
async def test_who_may_not_is_refused_and_nothing_is_recorded(
    site: Installation, changes: dict[str, Any], expected: Answer
) -> None:
    await _add_key(site, "publish")
    said = {"clickId": "aaaaaaaaaaaaaaaa", "eventName": "x", "customerExternalId": "c"}

    status, answer = await _page(site, LEAD, **{**said, **changes})

    assert expected == (status, answer["error"]["code"])
    assert [] == await site.appended()


async def test_browsers_may_call_all_of_them(site: Installation) -> None:
    for path in (LEAD, SALE, "/track/click", "/track/visit", "/track/open"):
        asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
        answer = await site.edges[0].options(path, headers=asked)

        assert 204 == answer.status, path
        assert "*" == answer.headers["Access-Control-Allow-Origin"]
        assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]


async def test_a_visit_and_an_opened_app_are_clicks(site: Installation) -> None:
    await site.database.execute(
        "insert into links (id, workspace_id, public_id, namespace, code, domain, url)"
        " select gen_random_uuid(), workspace_id, 'lnk_root', namespace, '_root', domain, url"
        " from links where code = 'alice' and domain = 'go.yoursite.com'"
    )
    await publish_changes(site.database, site.redis)
    visited = await _page(
        site, "/track/visit", key="", domain="go.yoursite.com", url="https://x.example"
    )
    deep = "https://go.yoursite.com/alice?x=1"
    opened = await _page(site, "/track/open", key="", deepLink=deep)
    unknown = await _page(site, "/track/open", key="", dubDomain="go.yoursite.com")
    await _recorded(site)

    assert 200 == visited[0]
    assert 16 == len(visited[1]["clickId"])
    assert (200, "alice") == (opened[0], opened[1]["link"]["key"])
    assert (200, {"clickId": None, "link": None}) == unknown
    clicked = "select code from links where clicks > 0 and domain <> '' order by code"
    assert [("_root",), ("alice",)] == await site.rows(clicked)


async def test_a_click_is_answered_with_image_and_discount(site: Installation) -> None:
    await site.database.execute(
        "update partners set image = 'https://x.example/a.png' where id ="
        " (select partner_id from links where code = 'alice' and domain = 'go.yoursite.com')"
    )
    await site.database.execute(
        "update links set discount = $1::text::jsonb where code = 'alice'",
        '{"id": "disc_1", "amount": 20, "type": "percentage"}',
    )
    await publish_changes(site.database, site.redis)

    _, answer = await _page(
        site, "/track/click", key="", domain="go.yoursite.com", key_="alice"
    )

    assert "https://x.example/a.png" == answer["partner"]["image"]
    assert (20, "percentage") == (
        answer["discount"]["amount"],
        answer["discount"]["type"],
    )
