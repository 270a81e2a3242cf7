"""The OpenAPI document and the page that shows it."""

import re
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from ingest.browser.scripts import NAMES, script
from ingest.dialects import DIALECTS
from ingest.dialects.batch import BATCH
from ingest.dialects.spec.refusal import RefusalCode
from ingest.http import docs
from ingest.http.site.tracker_scripts import LATEST
from ingest.reference.openapi import document, path_in_document
from ingest.reference.refusals import WHEN
from tests.support.edge.showcase import SHOWN, Client, Shown, an_edge

DOCUMENT = document(DIALECTS, "1.2.3")
#: What the edge answers that is no vendor's.
OWN = {
    "/r/{code}",
    "/p/{code}.gif",
    "/{code}",
    "/",
    "/docs",
    "/docs/openapi-explorer.min.js",
    "/js/affitor-tracker.js",
    *(path for path in LATEST if path.startswith("/analytics/")),
    "/livez",
    "/metrics",
    "/openapi.json",
    "/readyz",
    "/t.js",
    "/try",
    "/try/customers",
    "/try/page.css",
    "/try/page.js",
    "/version",
    *(script(name).path for name in NAMES),
}

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


def fields(node: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field, parameter and header below a node, by its place in the document."""
    if not isinstance(node, (dict, list)):
        return
    entries = node.items() if isinstance(node, dict) else enumerate(node)
    for key, item in entries:
        here = f"{place}/{key}"
        # A field may have that name as well.
        is_field = place.endswith("/properties")
        if key in {"properties", "headers"} and not is_field:
            yield from ((f"{here}/{name}", field) for name, field in item.items())
        elif key == "parameters":
            yield from ((f"{here}/{field['name']}", field) for field in item)
        if key not in {"example", "examples", "not"}:
            yield from fields(item, here)


#: Those that are only references are described where they lead.
FIELDS = {place: field for place, field in fields(DOCUMENT) if {*field} != {"$ref"}}


def test_fields_of_every_sort_are_found() -> None:
    assert {
        "/components/schemas/affitor.Click/properties/affiliate_url",
        "/components/schemas/dub.Led/properties/customer",
        "/components/headers/Retry-After",
        "/paths//api/v1/referrals/stats/{participant_id}/get/parameters/participant_id",
        "/paths//track/lead/post/responses/200/headers/X-RateLimit-Reset",
    } <= {*FIELDS}


@pytest.mark.parametrize("place", FIELDS)
def test_every_field_has_a_meaning_and_an_example(place: str) -> None:
    field = FIELDS[place]

    assert len(field["description"].split()) > 1
    assert "example" in field or field["examples"]


@pytest.mark.parametrize("place", [each for each in FIELDS if "/schemas/" in each])
def test_the_example_of_a_field_is_what_its_schema_says(place: str) -> None:
    for example in FIELDS[place]["examples"]:
        errors = validator(FIELDS[place]).iter_errors(example)
        assert [] == [error.message for error in errors]


@every_route
def test_every_route_has_code_samples_in_three_languages(shown: Shown) -> None:
    samples = {
        each["label"]: each["source"] for each in operation_of(shown)["x-code-samples"]
    }

    assert ["curl", "Python", "JavaScript"] == [*samples]
    for source in samples.values():
        assert path_in_document(shown.route).partition("{")[0] in source
    compile(samples["Python"], "sample", "exec")


# The viewer ------------------------------------------------------------------------------

VIEWER = Path(docs.__file__).parents[1] / "reference" / "viewer"


def test_the_viewer_is_the_one_that_was_reviewed() -> None:
    listed = dict(
        reversed(line.split())
        for line in (VIEWER / "SHA256SUMS").read_text().splitlines()
    )

    assert {"openapi-explorer.min.js", "LICENSE"} == {*listed}
    for name, digest in listed.items():
        assert digest == sha256((VIEWER / name).read_bytes()).hexdigest()


def test_the_page_loads_nothing_but_the_viewer() -> None:
    page = (VIEWER / "index.html").read_text()

    loaded = set(re.findall(r'(?:src|href|-url)="([^"]+)"', page))
    assert {"docs/openapi-explorer.min.js", "openapi.json"} == loaded
    assert "<script>" not in page
    assert "url(" not in page


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


async def test_the_page_may_ask_nobody_but_the_edge(client: Client) -> None:
    answer = await client.get("/docs")

    assert (200, "text/html") == (answer.status, answer.content_type)
    policy = answer.headers["Content-Security-Policy"].split("; ")
    assert "default-src 'none'" in policy
    assert {"script-src 'self'", "connect-src 'self'"} <= {*policy}
    assert "unsafe-eval" not in answer.headers["Content-Security-Policy"]
    assert "nosniff" == answer.headers["X-Content-Type-Options"]


async def test_the_viewer_comes_compressed(client: Client) -> None:
    answer = await client.get("/docs/openapi-explorer.min.js")

    assert (200, "deflate") == (answer.status, answer.headers["Content-Encoding"])
    assert (VIEWER / "openapi-explorer.min.js").read_bytes() == await answer.read()


async def test_the_root_leads_to_the_page(client: Client) -> None:
    answer = await client.get("/")

    assert (200, "/docs") == (answer.status, answer.url.path)
