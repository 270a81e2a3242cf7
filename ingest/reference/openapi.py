"""The OpenAPI 3.1 document: https://spec.openapis.org/oas/v3.1.1.

It is made of the dialects. Their models describe requests and answers, and their own error
bodies are the examples of refusals.
"""

from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from inspect import cleandoc
from typing import Final

from ingest.dialects import batch
from ingest.dialects.spec.requests import Usage
from ingest.dialects.spec.routes import Dialect, Endpoint, Limit, Query, Route
from ingest.reference import bulk
from ingest.reference.code_samples import code_samples
from ingest.reference.examples import Example, example_of, path_of
from ingest.reference.refusals import WHEN, refusals
from ingest.reference.schemas import JSON, Node, Schemas, Shown, responses

SCHEMES: Final[Mapping[str, Node]] = {
    "authorization": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key: `Authorization: Bearer KEY`. Operators make keys "
        "with `reftide keys add`.",
    },
    "x-api-key": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "An API key: `X-API-Key: KEY`.",
    },
}

_HEADERS: Final[Node] = {
    "Allow": {
        "description": "The methods that the path takes.",
        "required": True,
        "schema": {"type": "string"},
        "example": "POST",
    },
    "Retry-After": {
        "description": "After how many seconds to send the request again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
        "example": 5,
    },
}

IDEMPOTENCY: Final[Node] = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Up to 255 characters. Requests with the same key are one event for "
    "30 days, and are answered alike.",
    "schema": {"type": "string"},
    "example": "8f14e45f-ceea-467f",
}

#: What the headers about limits mean, whichever dialect sends them.
_USAGE: Final[Mapping[str, str]] = {
    "X-RateLimit-Limit": "How many requests a minute the tightest limit allows.",
    "X-RateLimit-Remaining": "How many of those are left.",
    "X-RateLimit-Reset": "When the next one comes free, in Unix seconds.",
}


def document(dialects: Sequence[Dialect], version: str) -> Node:
    """The document of all routes of some dialects."""
    paths: dict[str, Node] = {}
    schemas: Node = {}
    headers: set[str] = set()
    for dialect in dialects:
        own = Schemas(dialect)
        schemas |= own.by_name
        for route in dialect.endpoints:
            item = paths.setdefault(path_in_document(route), {})
            item[route.method.lower()] = _operation(dialect, route, own)
            headers |= {route.credential.header} if route.credential else set()
    own = Schemas(batch.BATCH, batch.ROUTE)
    schemas |= own.by_name
    paths[batch.ROUTE.path] = {"post": bulk.operation(own)}
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Reftide",
            "version": version,
            "description": "Records clicks, leads and sales of referral links. Each "
            "section is the API of one vendor. Its clients work unchanged, with this "
            "edge as their base URL.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": each.name, "description": cleandoc(each.about or "")}
            for each in (*dialects, batch.BATCH)
        ],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "headers": _HEADERS,
            "securitySchemes": {name: SCHEMES[name] for name in sorted(headers)},
        },
    }


def path_in_document(route: Route) -> str:
    """The path of a route with the names of its variables, without their patterns."""
    return "/".join(
        "{" + part.strip("{}").partition(":")[0] + "}" if part.startswith("{") else part
        for part in route.path.split("/")
    )


def _operation(dialect: Dialect, route: Endpoint | Query, schemas: Schemas) -> Node:
    sample = example_of(route, schemas.of(route.body))
    parameters = [
        _in_path(name, route.variables[name], text)
        for name, text in path_of(route).items()
    ]
    # A dialect's own dedupe key goes before the client's.
    if any(draft.dedupe is None for draft in sample.drafts):
        parameters.append(IDEMPOTENCY)
    operation: Node = {
        "tags": [dialect.name],
        "operationId": _operation_id(route),
        "summary": route.summary,
        "description": " ".join(_facts(route)),
        "security": _security(route),
        "parameters": parameters,
        "responses": _responses(dialect, route, schemas, sample),
    }
    if route.body:
        content = {"schema": schemas.ref(route.body), "example": sample.body}
        operation["requestBody"] = {"required": True, "content": {JSON: content}}
    operation["x-code-samples"] = code_samples(
        route, path_in_document(route).format(**path_of(route)), sample.body
    )
    return operation


def _operation_id(route: Route) -> str:
    path = path_in_document(route)
    words = "".join(mark if mark.isalnum() else " " for mark in path).split()
    return "_".join([route.method.lower(), *words])


def _facts(route: Route) -> Iterator[str]:
    if route.credential is None:
        yield "Needs no API key."
    elif route.credential.is_optional:
        yield f"An API key is optional. It needs the scope `{route.credential.scope}`."
    else:
        yield f"Needs an API key with the scope `{route.credential.scope}`."
    for limit in route.limits:
        # Ours concerns a route with a key only while no edge can check the key.
        if limit.per_minute and (limit.is_documented or not route.needs_key):
            without = route.credential is not None and not limit.is_documented
            yield _limited(limit, " without an API key" if without else "")
    if route.from_browsers:
        yield "Browsers may call it from any origin."
    if route.body:
        yield "Ignores unknown fields and the content type."


def _limited(limit: Limit, without: str) -> str:
    whose = "API key" if limit.by == "key" else limit.by
    return (
        f"Takes {limit.per_minute:,} requests a minute of one {whose}{without}"
        f" (`{limit.name}`)."
    )


def _security(route: Route) -> list[Node]:
    if route.credential is None:
        return []
    wanted: Node = {route.credential.header: []}
    return [{}, wanted] if route.credential.is_optional else [wanted]


def _in_path(name: str, meaning: str, example: str) -> Node:
    return {
        "name": name,
        "in": "path",
        "description": meaning,
        "required": True,
        "schema": {"type": "string", "minLength": 1},
        "example": example,
    }


def _responses(
    dialect: Dialect, route: Endpoint | Query, schemas: Schemas, sample: Example
) -> Node:
    accepted = [Shown("accepted", "", "", sample.reply)] if sample.reply else []
    refused = (
        Shown(each.code, each.field, WHEN[each.code], each.reply)
        for each in refusals(dialect, route, sample)
    )
    found = responses(
        [*accepted, *refused],
        lambda status: schemas.ref(
            route.reply if status < HTTPStatus.BAD_REQUEST else dialect.problem
        ),
    )
    for status, node in found.items():
        node["headers"] |= _usage_headers(dialect, route, int(status))
    return found


def _usage_headers(dialect: Dialect, route: Route, status: int) -> Node:
    """The rate limit headers of an answer, if the vendor has them."""
    is_refusal = status == HTTPStatus.TOO_MANY_REQUESTS
    told = [
        limit.per_minute
        for limit in route.limits
        if limit.per_minute and (limit.is_documented or is_refusal)
    ]
    is_counted = status < HTTPStatus.BAD_REQUEST or is_refusal
    if dialect.usage_headers is None or not is_counted or not told:
        return {}
    limit = min(told)
    usage = Usage(limit, limit - 1, 1_790_000_060, is_admitted=True, retry_after=0)
    return {
        name: {
            "description": _USAGE[name],
            "required": True,
            "schema": {"type": "integer" if text.isdecimal() else "string"},
            "example": int(text) if text.isdecimal() else text,
        }
        for name, text in dialect.usage_headers(usage).items()
    }
