"""Affixo's and Affitor's management routes."""

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
