"""Affixo's and Affitor's management routes, and what Dub's client does not ask Dub's for."""

import asyncio
from datetime import UTC, datetime

from tests.support.control.api import Api


async def test_an_affiliate_and_a_link_are_made_as_affixo_does(api: Api) -> None:
    made = await api("POST", "//v1/affiliates", {"email": "ann@example.com"})
    person = made.body["data"]
    link = await api(
        "POST",
        "//v1/links",
        {
            "affiliate_id": person["id"],
            "ref_param": "ann",
            "destination_url": "https://shop.example/ann",
            "campaign_id": 1,
        },
        Authorization=await api.a_key("write"),
    )
    refused = await api("POST", "//v1/links", {"ref_param": "x"})

    assert (201, "affiliate", "pending", 8) == (
        made.status,
        made.body["object"],
        person["status"],
        len(person["ref_code"]),
    )
    data = link.body["data"]
    assert (201, "link") == (link.status, link.body["object"])
    assert {"id", "created_at"} < data.keys()
    assert ("ann", person["id"], "https://shop.example/ann", "1", None) == tuple(
        data[name]
        for name in (
            "ref_param",
            "affiliate_id",
            "destination_url",
            "campaign_id",
            "domain_id",
        )
    )
    assert (422, "affiliate_id") == (refused.status, refused.body["error"]["field"])


async def test_a_programs_events_are_listed_as_affitor_does(api: Api) -> None:
    path = "//api/tracking/events/1"
    nothing = await api("GET", f"{path}?page=1&pageSize=10&eventType=click")
    now = datetime.fromtimestamp(api.cli.now, UTC)
    span = f"dateFrom=2020-01-01&dateTo={now:%Y-%m-%d}"

    assert {"page": 1, "pageSize": 10, "pageCount": 0, "total": 0} == (
        nothing.body["meta"]["pagination"]
    )
    assert [] == (await api("GET", f"{path}?{span}")).body["data"]
    assert 404 == (await api("GET", "//api/tracking/events/99")).status
    assert 422 == (await api("GET", f"{path}?eventType=visit")).status


async def test_the_trail_names_each_link_that_dubs_routes_changed(api: Api) -> None:
    await api("POST", "/domains", {"domain": "go.example"})
    to_a = {"url": "https://a.example"}
    many = [{**to_a, "externalId": f"e{number}"} for number in range(2)]
    made = (await api("POST", "//links/bulk", [*many, {**to_a, "password": "x"}])).body
    first, second = (each["id"] for each in made[:2])
    for method, path, body in (
        ("PATCH", "//links/ext_e0", to_a),
        ("PUT", "//links/upsert", {"url": "https://a.example"}),
        ("PATCH", "//links/bulk", {"externalIds": ["e0", "e1"], "data": to_a}),
        ("DELETE", f"//links/bulk?linkIds=ext_e1,{second},{first}", None),
        ("DELETE", "//links/bulk?linkIds=lnk_nobody", None),
    ):
        said = await api(method, path, body)
        assert 200 == said.status, said.body

    rows = await asyncio.to_thread(
        api.cli.fetch, "select what from operations order by id offset 1"
    )
    assert [
        f"POST /links/{first}",
        f"POST /links/{second}",
        f"PATCH /links/{first}",
        f"PUT /links/{second}",
        f"PATCH /links/{first}",
        f"PATCH /links/{second}",
        f"DELETE /links/{second}",
        f"DELETE /links/{first}",
        "DELETE /links/bulk",
    ] == [row["what"] for row in rows]


async def test_many_links_keep_what_only_one_can_have(api: Api) -> None:
    await api("POST", "/links", {"code": "one", "external_id": "7"})
    names = ("key", "domain", "externalId", "prefix")
    data = {"url": "https://a.example", **dict.fromkeys(names, "two")}
    said = await api("PATCH", "//links/bulk", {"externalIds": [" 7 "], "data": data})
    refused = [
        (await api("PATCH", "//links/bulk", {"data": data, **named})).status
        for named in (
            {"externalIds": [7]},
            {"externalIds": "7"},
            {"linkIds": [None]},
            {},
        )
    ]

    [link] = said.body
    assert ("one", "", "7") == tuple(link[each] for each in names[:3])
    assert "https://a.example" == link["url"]
    assert [422] * 4 == refused
