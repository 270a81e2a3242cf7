"""`/control/v1`: what operators administer, by secret keys."""

import asyncio
from http import HTTPStatus
from io import BytesIO
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from scripts.control.openapi import document
from scripts.control.routes import own_routes, vendors_routes
from tests.support.control.api import Api
from workers.counters.rule import NAMES


async def test_a_link_is_made_listed_changed_and_switched_off(api: Api) -> None:
    made = await api(
        "POST",
        "/links",
        {"code": "NEW", "program": 1, "partner": "jane", "external_id": "7"},
    )
    name = made.body["public_id"]
    assert (201, "NEW", "7") == (
        made.status,
        made.body["code"],
        made.body["external_id"],
    )

    listed = await api("GET", "/links?partner=jane")
    assert ["NEW", "SUMMER"] == [link["code"] for link in listed.body["data"]]
    changed = await api(
        "PATCH", f"/links/{name}", {"url": "https://other.example/", "code": "NEWER"}
    )
    assert ("https://other.example/", "NEWER", ["NEW"]) == tuple(
        changed.body[each] for each in ("url", "code", "former_codes")
    )
    off = await api("DELETE", f"/links/{name}")
    assert off.body["is_active"] is False
    shown = await api("GET", f"/links/{name}")
    assert shown.body["is_active"] is False
    assert shown.headers["ETag"] not in {made.headers["ETag"], changed.headers["ETag"]}


async def test_pages_go_on_where_the_last_one_ended(api: Api) -> None:
    for number in range(4):
        await api("POST", "/links", {"code": f"L{number}"})

    first = (await api("GET", "/links?limit=2")).body
    second = (await api("GET", f"/links?limit=2&after={first['next']}")).body
    third = (await api("GET", f"/links?limit=2&after={second['next']}")).body

    codes = [link["code"] for page in (first, second, third) for link in page["data"]]
    assert ["L3", "L2", "L1", "L0", "SUMMER"] == codes
    assert third["next"] is None


async def test_every_noun_is_made_and_changed(api: Api) -> None:
    program = (await api("POST", "/programs", {"name": "Sale", "stats": True})).body
    assert program["has_stats"]
    number = program["number"]
    changed = await api("PATCH", f"/programs/{number}", {"cookie_window": 7})
    assert 7 == changed.body["cookie_window_days"]
    programs = (await api("GET", "/programs?limit=1")).body
    assert [1] == [each["number"] for each in programs["data"]]
    following = (await api("GET", f"/programs?after={programs['next']}")).body
    assert [number] == [each["number"] for each in following["data"]]

    partner = (await api("POST", "/partners", {"code": "bob", "name": "Bob"})).body
    changed = await api(
        "PATCH", f"/partners/{partner['public_id']}", {"email": "b@example.com"}
    )
    assert "b@example.com" == changed.body["email"]

    assert 201 == (await api("POST", "/domains", {"domain": "go.shop.example"})).status
    changed = await api(
        "PATCH", "/domains/go.shop.example", {"schemes": ["mailto", "tel"]}
    )
    assert ["mailto", "tel"] == changed.body["schemes"]
    assert 200 == (await api("DELETE", "/domains/go.shop.example")).status


async def test_milestones_switches_and_sums(api: Api) -> None:
    await api("POST", "/milestones", {"name": "Five", "program": 1, "converts": 5})
    listed = (await api("GET", "/milestones?program=1")).body
    assert [("Five", 5)] == [(row["name"], row["converts"]) for row in listed["data"]]
    await api("POST", "/milestones", {"name": "Ten", "program": 1, "converts": 10})
    first = (await api("GET", "/milestones?limit=1")).body
    second = (await api("GET", f"/milestones?limit=1&after={first['next']}")).body
    assert ["Five", "Ten"] == [each["data"][0]["name"] for each in (first, second)]
    assert second["next"] is None

    off = await api("PUT", "/switches/program/1", {"reason": "too many"})
    assert off.body["is_off"]
    listed = (await api("GET", "/switches")).body
    assert [("program", "1", "too many")] == [
        (row["scope"], row["subject"], row["reason"]) for row in listed["data"]
    ]
    assert (await api("DELETE", "/switches/program/1")).body["was_off"]

    sums = (await api("GET", "/stats?by=link&limit=5")).body
    assert dict.fromkeys(NAMES, 0) == sums.get("total"), sums
    assert ["SUMMER"] == [row["key"] for row in sums["data"]]


async def test_a_key_is_made_shown_once_and_revoked(api: Api) -> None:
    body = {"scopes": ["links:read"], "name": "reports"}
    made = await api("POST", "/keys", body, Idempotency_Key="k1")
    again = await api("POST", "/keys", body, Idempotency_Key="k1")
    bearer = f"Bearer {made.body['secret']}"

    assert made.body["id"] == again.body["id"]
    assert "secret" not in again.body
    assert 200 == (await api("GET", "/links", Authorization=bearer)).status
    assert 200 == (await api("DELETE", f"/keys/{made.body['id']}")).status
    assert 401 == (await api("GET", "/links", Authorization=bearer)).status


async def test_every_route_needs_a_key_with_its_scope(api: Api) -> None:
    useless = await api.a_key("track")
    for route in (*own_routes(), *vendors_routes()):
        named = route.path.format(id="1", scope="link", subject="x", program="1")
        refused = await api(route.method, f"/{named}", Authorization=useless)
        unknown = await api(route.method, f"/{named}", Authorization="Bearer rt_live_x")

        assert (403, "forbidden") == (refused.status, refused.body["error"]["code"])
        assert (401, "unauthorized") == (unknown.status, unknown.body["error"]["code"])
        assert "Bearer" == unknown.headers["WWW-Authenticate"]


async def test_every_change_is_in_the_trail_and_no_secret_is(api: Api) -> None:
    await api("POST", "/keys", {"scopes": ["track"], "secret": "Kh5-29xa-Mm7q-Lw0z"})
    await api("POST", "/links", {"code": "a b"})
    await api("PUT", "/links/bulk", [{"code": "ONE"}, {"code": "TWO"}])
    await api("GET", "/links")

    rows = await asyncio.to_thread(
        api.cli.fetch,
        "select what, arguments::text, result::text, state from operations order by id",
    )
    assert [
        ("POST /control/v1/keys", "done"),
        ("PUT /control/v1/links/bulk", "done"),
    ] == [(row["what"], row["state"]) for row in rows]
    assert "Kh5" not in str(rows)
    assert '{"count": 2}' == rows[1]["arguments"]


async def test_what_another_workspace_has_is_unknown(api: Api) -> None:
    await asyncio.to_thread(api.cli.document, "workspaces", "add", "other")
    theirs = await api.a_key("*", "--workspace", "other")
    name = (await api("GET", "/links")).body["data"][0]["public_id"]
    key = (await api("GET", "/keys?limit=1")).body["data"][0]["id"]
    partner = (await api("GET", "/partners")).body["data"][0]["public_id"]
    await api("POST", "/domains", {"domain": "go.shop.example"})

    for path in (
        f"/links/{name}",
        "/links/SUMMER",
        "/programs/1",
        f"/partners/{partner}",
        "/partners/jane",
        f"/keys/{key}",
        "/domains/go.shop.example",
    ):
        for method, body in (("GET", None), ("PATCH", {}), ("DELETE", None)):
            if (method, path[:5]) in {("DELETE", "/prog"), ("DELETE", "/part")}:
                continue
            said = await api(method, path, body, Authorization=theirs)
            assert 404 == said.status, (method, path)
    for path in ("/switches/program/1", f"/switches/link/{name}"):
        assert 404 == (await api("PUT", path, {}, Authorization=theirs)).status
    for body in ({"code": "X", "program": 1}, {"code": "X", "partner": "jane"}):
        said = await api("POST", "/links", body, Authorization=theirs)
        assert said.status in {404, 422}
    for path, body in (
        ("/domains", {"domain": "go.shop.example"}),
        ("//links", {"url": "https://a.example", "domain": "go.shop.example"}),
        ("//v1/links", {"affiliate_id": "x", "campaign_id": 1}),
    ):
        said = await api("POST", path, body, Authorization=theirs)
        assert said.status in {404, 409, 422}
        assert "default" not in str(said.body)
    assert [] == (await api("GET", "/links", Authorization=theirs)).body["data"]
    assert [] == (await api("GET", "//links", Authorization=theirs)).body
    assert (
        404 == (await api("PATCH", f"//links/{name}", {}, Authorization=theirs)).status
    )


async def test_a_change_of_what_has_changed_since_is_refused(api: Api) -> None:
    first = await api("GET", "/links/SUMMER")
    etag = first.headers["ETag"]
    change = {"url": "https://a.example/"}

    done = await api("PATCH", "/links/SUMMER", change, If_Match=etag)
    late = await api(
        "PATCH", "/links/SUMMER", {"url": "https://b.example/"}, If_Match=etag
    )

    assert (200, 412) == (done.status, late.status)
    assert "https://a.example/" == (await api("GET", "/links/SUMMER")).body["url"]


async def test_a_request_that_comes_again_is_answered_as_the_first_time(
    api: Api,
) -> None:
    body = {"code": "ONCE"}
    answers = await asyncio.gather(  # noqa: TID251 -- at the same time
        *(api("POST", "/links", body, Idempotency_Key="k") for _ in range(3))
    )
    other = await api("POST", "/links", {"code": "TWICE"}, Idempotency_Key="k")
    free = await api("POST", "/links", body)

    assert {201} == {each.status for each in answers}
    assert 1 == len({each.body["public_id"] for each in answers})
    assert (409, 409) == (other.status, free.status)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"code": "a b"}, "code"),
        ({"code": "x", "url": "javascript:alert(1)"}, "url"),
        ({"code": "x", "colour": "red"}, "colour"),
        ({"code": "x", "inactive": "yes"}, "inactive"),
        ({"code": "x", "program": 1.5}, "program"),
        ({"code": "x", "namespace": "galaxy"}, "namespace"),
        ({"code": "\0"}, "code"),
        ({}, "code"),
        ([], None),
        (None, None),
    ],
)
async def test_what_is_wrong_is_named(api: Api, body: Any, field: str | None) -> None:
    refused = await api("POST", "/links", body)

    assert 422 == refused.status
    assert field == refused.body["error"].get("field")


async def test_bodies_are_bounded_and_json(api: Api) -> None:
    named = {"Authorization": f"Bearer {api.key}"}
    path = "/control/v1/links"
    broken = await api.client.post(path, data=b"{", headers=named)
    large = await api.client.post(path, data=BytesIO(b" " * 2_100_000), headers=named)

    assert (400, 413) == (broken.status, large.status)


async def test_strangers_are_refused_before_the_database_is_asked(api: Api) -> None:
    assert 200 == (await api("GET", "/links")).status
    statuses = [
        (await api("GET", "/links", Authorization="Bearer x")).status
        for _ in range(320)
    ]

    assert {401, 429} == set(statuses)
    assert 429 == statuses[-1]
    # A key that worked lately is not held up by them, nor is who a trusted proxy names.
    assert 200 == (await api("GET", "/links")).status
    other = {"Authorization": "Bearer x", "X-Forwarded-For": "192.0.2.1"}
    answer = await api.client.get("/control/v1/links", headers=other)
    assert 401 == answer.status


def test_the_document_is_valid_openapi() -> None:
    described = document("1")

    OpenAPIV31SpecValidator(described).validate()
    assert HTTPStatus.CREATED.value == int(
        next(iter(described["paths"]["/control/v1/links"]["post"]["responses"]))
    )


async def test_the_document_is_served_without_a_key(api: Api) -> None:
    answer = await api.client.get("/control/v1/openapi.json")
    assert "3.1.1" == (await answer.json())["openapi"]
