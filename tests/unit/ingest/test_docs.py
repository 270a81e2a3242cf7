"""The OpenAPI document and the page of it."""

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from ingest.dialects import DIALECTS
from ingest.dialects.batch import BATCH
from ingest.dialects.spec import RefusalCode
from ingest.reference.openapi import document, path_in_document
from ingest.reference.page import page
from ingest.reference.refusals import WHEN
from tests.support.edge.showcase import SHOWN, Client, Shown, an_edge

DOCUMENT = document(DIALECTS, "1.2.3")
#: What the edge answers that is no vendor's.
OWN = {"/", "/docs", "/openapi.json", "/livez", "/readyz", "/version", "/metrics"}

every_route = pytest.mark.parametrize(
    "shown", [pytest.param(each, id=each.name) for each in SHOWN]
)


def operation_of(shown: Shown) -> dict[str, Any]:
    item: dict[str, Any] = DOCUMENT["paths"][path_in_document(shown.route)]
    found: dict[str, Any] = item[shown.route.method.lower()]
    return found


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def contents(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for status, response in operation["responses"].items():
        [content] = response["content"].values()
        yield status, content


# The document ----------------------------------------------------------------------------


def test_the_document_is_openapi() -> None:
    assert [] == [*OpenAPIV31SpecValidator(DOCUMENT).iter_errors()]
    assert "1.2.3" == DOCUMENT["info"]["version"]


def test_every_operation_has_an_id_of_its_own() -> None:
    ids = [operation_of(each)["operationId"] for each in SHOWN]

    assert sorted(set(ids)) == sorted(ids)


def test_every_reference_leads_somewhere() -> None:
    found = re.findall(r"'#/components/(\w+)/([^']+)'", str(DOCUMENT))

    assert found
    for kind, name in found:
        assert name in DOCUMENT["components"][kind]


def test_every_refusal_is_explained() -> None:
    assert {*get_args(RefusalCode)} == {*WHEN}


@every_route
def test_every_example_is_what_its_schema_says(shown: Shown) -> None:
    operation = operation_of(shown)
    for _, content in contents(operation):
        for name, example in content["examples"].items():
            errors = validator(content["schema"]).iter_errors(example["value"])
            assert [] == [error.message for error in errors], name
    if shown.route.body:
        [body] = operation["requestBody"]["content"].values()
        assert [] == [*validator(body["schema"]).iter_errors(body["example"])]


@every_route
def test_every_route_shows_an_answer_and_its_refusals(shown: Shown) -> None:
    shows = {
        name.partition(".")[0]: status
        for status, content in contents(operation_of(shown))
        for name in content["examples"]
    }

    assert "200" == shows["accepted"]
    expected = {"method_not_allowed", "body_too_large", "overloaded", "failed"}
    assert expected | {*shown.route.refusals} <= {*shows}
    if shown.route.limits:
        assert "429" == shows["rate_limited"]
    if shown.route.credential and not shown.route.credential.is_optional:
        assert "401" == shows["credential_missing"]


@every_route
def test_who_may_come_back_is_told_when(shown: Shown) -> None:
    for status, response in operation_of(shown)["responses"].items():
        assert (status in {"429", "503"}) == ("Retry-After" in response["headers"])


def test_names_of_models_are_told_apart_by_dialect() -> None:
    names = DOCUMENT["components"]["schemas"]

    expected = {each.name for each in (*DIALECTS, BATCH)}
    assert expected == {name.partition(".")[0] for name in names}
    assert not [name for name in names if "._" in name]


# The page --------------------------------------------------------------------------------


class Reader(HTMLParser):
    """Checks that tags are closed; collects links, anchors, texts and what is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self.loaded: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.links |= {given["href"] or ""} if "href" in given else set()
        self.anchors |= {f"#{given['id']}"} if "id" in given else set()
        if tag in {"script", "link", "img", "iframe", "object"} or "src" in given:
            self.loaded.append(tag)
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data


def reading(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    return reader


def test_the_page_is_whole_and_loads_nothing() -> None:
    reader = reading(page(DOCUMENT))

    assert [] == reader.open
    assert [] == reader.loaded
    assert {"openapi.json"} == reader.links - reader.anchors
    assert "url(" not in page(DOCUMENT)


@every_route
def test_the_page_shows_every_route_with_its_exact_refusals(shown: Shown) -> None:
    text = reading(page(DOCUMENT)).text

    assert f"{shown.route.method} {shown.route.path}" in text
    assert shown.route.summary in text
    for _, content in contents(operation_of(shown)):
        for name, example in content["examples"].items():
            if name != "accepted":
                assert str(example["summary"]) in text


def test_nothing_in_the_document_becomes_markup() -> None:
    evil = "<script>alert(1)</script>'\"&`<b>`</title>"
    dialect = DIALECTS[0]
    routes = [replace(each, summary=evil) for each in dialect.endpoints]

    text = page(document([replace(dialect, endpoints=routes)], evil))

    assert "<script" not in text
    assert "<b>`" not in text
    assert [] == reading(text).open


# Over HTTP -------------------------------------------------------------------------------


@pytest.fixture
async def client(redis_url: str, tmp_path: Path) -> AsyncIterator[Client]:
    async with an_edge(redis_url, tmp_path) as made:
        yield made


async def test_the_document_lists_exactly_the_routes_that_are_served(
    client: Client,
) -> None:
    served = {
        (route.method, route.resource.canonical)
        for route in client.app.router.routes()
        if route.resource and route.method not in {"HEAD", "OPTIONS"}
    }
    listed = {
        (method.upper(), path)
        for path, item in DOCUMENT["paths"].items()
        for method in item
    }

    assert listed == {(method, path) for method, path in served if path not in OWN}


async def test_the_document_is_for_everybody(client: Client) -> None:
    answer = await client.get("/openapi.json")

    assert (200, "application/json") == (answer.status, answer.content_type)
    assert "*" == answer.headers["Access-Control-Allow-Origin"]
    assert DOCUMENT["paths"] == (await answer.json())["paths"]


async def test_the_page_may_load_nothing_but_its_own_style(client: Client) -> None:
    answer = await client.get("/docs")

    assert (200, "text/html", "utf-8") == (
        answer.status,
        answer.content_type,
        answer.charset,
    )
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "nosniff" == answer.headers["X-Content-Type-Options"]


async def test_the_root_leads_to_the_page(client: Client) -> None:
    answer = await client.get("/")

    assert (200, "/docs") == (answer.status, answer.url.path)
