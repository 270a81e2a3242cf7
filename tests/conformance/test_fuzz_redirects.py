"""Visitors' requests that schemathesis makes: redirects and pixels, which no document shows."""

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from schemathesis import Case, HookContext
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import Failure, ServerError
from schemathesis.core.transport import Response
from schemathesis.hooks import unregister
from schemathesis.openapi.checks import UndefinedStatusCode

from tests.conformance.test_fuzz import Found, an_edge, found_in
from tests.support.edge.redirecting import DOMAIN, on_domain, publish


def _named(name: str, place: str, **schema: object) -> dict[str, object]:
    schema = schema or {"type": "string"}
    return {"name": name, "in": place, "required": place == "path", "schema": schema}


_KNOWN = _named("code", "path", enum=["ALICE", "alice", "Alice/", "nobody"])
_ANY = _named("code", "path", type="string", minLength=1)
_QUERY = [
    *(_named(name, "query") for name in ("via", "bot", "dub_id", "url")),
    _named("utm_source", "query", type="array", items={"type": "string"}),
]
_HEADERS = [
    _named("Host", "header", enum=[DOMAIN, "edge.example", f"{DOMAIN}:80"]),
    *(_named(name, "header") for name in ("User-Agent", "Referer", "Cookie")),
    *(
        _named(name, "header")
        for name in ("Sec-Purpose", "Sec-GPC", "X-Forwarded-Host")
    ),
]


def _path(*statuses: int) -> dict[str, Any]:
    answers = {str(status): {"description": "so"} for status in statuses}
    more = [*_QUERY, *_HEADERS]
    return {
        "get": {"parameters": [_KNOWN, *more], "responses": answers},
        "head": {"parameters": [_ANY, *more], "responses": answers},
    }


#: A code that is nothing but dots and slashes is another path, maybe one that takes no GET.
DOCUMENT = {
    "openapi": "3.1.0",
    "info": {"title": "what visitors see", "version": "1"},
    "paths": {
        "/r/{code}": _path(302, 400, 404, 405),
        "/{code}": _path(200, 302, 400, 404, 405),
        "/p/{code}.gif": _path(200, 400, 404, 405),
    },
}


async def _publish(url: str) -> None:
    await publish(url, on_domain("alice"))


def _is_wrong(_: HookContext, failure: Failure, __: Case[Any], ___: Response) -> bool:
    return isinstance(failure, ServerError | UndefinedStatusCode)


def _stay(_: HookContext, __: Case[Any], how: dict[str, Any]) -> None:
    how["allow_redirects"] = False


def found_by(url: str, per_operation: int) -> Found:
    generation = {
        "database": "none",
        "deterministic": True,
        "max-examples": per_operation,
        "no-shrink": True,
    }
    settings = {
        "continue-on-failure": True,
        "generation": generation,
        "warnings": False,
    }
    config = SchemathesisConfig.from_dict({**settings, "base-url": url, "workers": 1})
    schema = schemathesis.openapi.from_dict(DOCUMENT, config=config)
    schema.hook("filter_failure")(_is_wrong)
    # Where visitors are led is nothing of ours; it is to be hooked for all schemas only.
    schemathesis.hook("before_call")(_stay)
    try:
        return found_in(schema)
    finally:
        unregister(_stay)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("per_operation", "least"),
    [(5, 300), pytest.param(900, 5000, marks=pytest.mark.slow, id="5000")],
)
def test_generated_visits_find_no_5xx(
    tmp_path: Path, per_operation: int, least: int
) -> None:
    with an_edge(tmp_path, _publish) as url:
        found = found_by(url, per_operation)

    assert [] == found.wrong, "\n\n".join(found.wrong)
    assert sum(found.statuses.values()) >= least
    assert found.statuses[302] > least / 20
    assert {500, 503, 0}.isdisjoint(found.statuses)
