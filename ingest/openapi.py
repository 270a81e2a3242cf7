"""The OpenAPI 3.1 document, made of what the routes are made of. Pure; used by `docs`.

Requests are described by the models that validate them, and refusals by the dialects' own
words: https://spec.openapis.org/oas/v3.1.1.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from inspect import cleandoc
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from ingest.contracts.storable import Json
from ingest.dialects.spec import (
    Dialect,
    Endpoint,
    Limit,
    Query,
    RefusalCode,
    Route,
    Usage,
)
from ingest.specimens import No, Specimen, path_of, refusals, specimen

_Node = dict[str, Any]

_JSON: Final = "application/json"
_REF: Final = "#/components/schemas/"

#: When a refusal comes; how it is worded is the dialect's.
WHEN: Final[Mapping[RefusalCode, str]] = {
    "not_found": "There is no such path.",
    "method_not_allowed": "The path takes another method.",
    "body_too_large": "The body is larger than 64 KiB.",
    "encoding_unsupported": "The body is compressed.",
    "body_malformed": "The body is cut off, no JSON object, or nested too deeply.",
    "field_missing": "A required field is absent, null or blank.",
    "field_invalid": "A field has a value that it cannot have.",
    "link_unparsable": "The link is no URL.",
    "link_code_missing": "The link has no code.",
    "link_unknown": "There is no such link.",
    "link_incomplete": "The link belongs to no program or no partner.",
    "link_inactive": "The link is switched off.",
    "program_unknown": "There is no such program.",
    "partner_unknown": "There is no such partner.",
    "click_unknown": "There is no such click.",
    "click_expired": "The click is older than the program's attribution window.",
    "customer_unknown": "There is no such customer.",
    "customer_elsewhere": "The customer is of another program.",
    "customer_advanced": "The customer is already more than this would make of it.",
    "credential_missing": "There is no API key.",
    "credential_malformed": "The header holds no API key.",
    "unauthorised": "There is no such API key, or it was revoked.",
    "forbidden": "The API key lacks the scope.",
    "rate_limited": "Too many requests came within a minute.",
    "switched_off": "An operator switched it off.",
    "overloaded": "There is no durable place for it right now: come back.",
    "failed": "Something went wrong here.",
}

_SCHEMES: Final[Mapping[str, _Node]] = {
    "authorization": {"type": "http", "scheme": "bearer"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}

_HEADERS: Final[_Node] = {
    "Allow": {
        "description": "The methods that the path takes.",
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "Whole seconds until a request may come again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
}

_IDEMPOTENCY: Final[_Node] = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Up to 255 characters. A request with the key of an earlier one is "
    "recorded once and answered as that was.",
    "schema": {"type": "string"},
}


def document(dialects: Sequence[Dialect], version: str) -> _Node:
    """The document of all routes of some dialects."""
    paths: _Node = {}
    schemas: _Node = {}
    for dialect in dialects:
        described = _Described(dialect)
        schemas |= described.schemas
        for route in dialect.endpoints:
            item = paths.setdefault(_path(route), {})
            item[route.method.lower()] = described.operation(route)
    wanted = {item.credential.header for d in dialects for item in d.endpoints if item.credential}
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Reftide",
            "version": version,
            "description": "Clicks, leads and sales of referral links. Each tag is the "
            "API of one vendor: its clients work unchanged, with another base URL.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": each.name, "description": _about(each)} for each in dialects],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "headers": _HEADERS,
            "securitySchemes": {name: _SCHEMES[name] for name in sorted(wanted)},
        },
    }


class _Described:
    """A dialect's models as schemas, and its routes as operations that refer to them."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        models = [(dialect.problem, "serialization")]
        for route in dialect.endpoints:
            models.append((route.reply, "serialization"))
            if route.body:
                models.append((route.body, "validation"))
        refs, found = models_json_schema(models, ref_template=_REF + "{model}")
        self._refs = {model: self._renamed(ref) for (model, _), ref in refs.items()}
        #: By name; no name is another dialect's.
        self.schemas: _Node = {
            self._name(name): self._renamed(schema)
            for name, schema in found.get("$defs", {}).items()
        }

    def operation(self, route: Endpoint | Query) -> _Node:
        schema = self._schema(route)
        sample = specimen(route, schema)
        names = path_of(route)
        has_key = route.method == "POST" and any(
            draft.dedupe is None for draft in sample.drafts
        )
        made: _Node = {
            "tags": [self._dialect.name],
            "operationId": _operation_id(route),
            "summary": route.summary,
            "description": " ".join(_facts(route)),
            "security": _security(route),
            "parameters": [
                *(_in_path(name, example) for name, example in names.items()),
                *([_IDEMPOTENCY] if has_key else []),
            ],
            "responses": self._responses(route, sample),
        }
        if route.body:
            content = {"schema": self._refs[route.body], "example": sample.body}
            made["requestBody"] = {"required": True, "content": {_JSON: content}}
        return made

    def _schema(self, route: Route) -> _Node:
        """The schema of a route's body; empty where it takes none."""
        if route.body is None:
            return {}
        name: str = self._refs[route.body]["$ref"].removeprefix(_REF)
        schema: _Node = self.schemas[name]
        return schema

    def _responses(self, route: Endpoint | Query, sample: Specimen) -> _Node:
        by_status: dict[int, dict[str, _Node]] = {200: {}}
        headers: dict[int, set[str]] = {200: set()}
        if sample.reply:
            examples = by_status.setdefault(sample.reply.status, {})
            examples["accepted"] = {"value": sample.reply.body}
        for no in refusals(self._dialect, route, sample):
            status = no.reply.status
            examples = by_status.setdefault(status, {})
            examples[_key(no, examples)] = _example(no)
            headers.setdefault(status, set()).update(no.reply.headers)
        return {
            str(status): self._response(route, status, by_status[status], headers[status])
            for status in sorted(by_status)
        }

    def _response(
        self, route: Route, status: int, examples: _Node, names: set[str]
    ) -> _Node:
        is_success = status < HTTPStatus.BAD_REQUEST
        model = route.reply if is_success else self._dialect.problem
        content = {"schema": self._refs[model], "examples": examples}
        told: _Node = {
            name: {"$ref": f"#/components/headers/{name}"} for name in sorted(names)
        }
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            told["Allow"] = {"$ref": "#/components/headers/Allow"}
        if is_success or status == HTTPStatus.TOO_MANY_REQUESTS:
            told |= _usage_headers(self._dialect, route)
        made: _Node = {
            "description": HTTPStatus(status).phrase,
            "content": {_JSON: content},
        }
        return {**made, "headers": told} if told else made

    def _renamed(self, node: Any, *, holds_names: bool = False) -> Any:
        """The node with this dialect's names, without titles and without nulls that
        stand for fields that are not there.
        """
        if isinstance(node, list):
            return [self._renamed(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return {"$ref": _REF + self._name(node["$ref"].removeprefix(_REF))}
        return {
            key: self._renamed(item, holds_names=key == "properties" and not holds_names)
            for key, item in node.items()
            if holds_names or not (key == "title" or (key == "default" and item is None))
        }

    def _name(self, model: str) -> str:
        return f"{self._dialect.name}.{model.lstrip('_')}"


def _path(route: Route) -> str:
    """The path as OpenAPI has it: parameters without patterns."""
    parts = (
        "{" + part.strip("{}").partition(":")[0] + "}" if part.startswith("{") else part
        for part in route.path.split("/")
    )
    return "/".join(parts)


def _operation_id(route: Route) -> str:
    words = "".join(mark if mark.isalnum() else " " for mark in _path(route)).split()
    return "_".join([route.method.lower(), *words])


def _about(dialect: Dialect) -> str:
    """What the dialect's module says of itself."""
    first = dialect.endpoints[0]
    reads = first.ask if isinstance(first, Query) else first.parse
    return cleandoc(sys.modules[reads.__module__].__doc__ or "")


def _facts(route: Route) -> Iterator[str]:
    if route.credential is None:
        yield "Anybody may call it."
    else:
        has = "An API key is optional; one that comes" if route.credential.is_optional else "The API key"
        yield f"{has} needs the scope `{route.credential.scope}` or `*`."
    for limit in route.limits:
        yield _limited(limit)
    if route.from_browsers:
        yield "Browsers may call it from any page."
    if route.body:
        yield "Unknown fields are ignored, and so is the content type."


def _limited(limit: Limit) -> str:
    whose = {"address": "address", "key": "API key", "workspace": "workspace"}[limit.by]
    return f"{limit.per_minute:,} requests a minute of one {whose} (`{limit.name}`)."


def _security(route: Route) -> list[_Node]:
    if route.credential is None:
        return []
    wanted: _Node = {route.credential.header: []}
    return [{}, wanted] if route.credential.is_optional else [wanted]


def _in_path(name: str, example: str) -> _Node:
    schema = {"type": "string", "minLength": 1}
    return {
        "name": name,
        "in": "path",
        "required": True,
        "schema": schema,
        "example": example,
    }


def _usage_headers(dialect: Dialect, route: Route) -> _Node:
    """What an answer says of a limit, where the vendor's answers do."""
    if dialect.usage_headers is None or not (route.limits or route.credential):
        return {}
    limit = min((each.per_minute for each in route.limits), default=1)
    shown = dialect.usage_headers(Usage(limit, limit - 1, 1_790_000_060, True, 0))
    return {
        name: {
            "required": bool(route.limits),
            "schema": {"type": "integer" if text.isdecimal() else "string"},
            "example": int(text) if text.isdecimal() else text,
        }
        for name, text in shown.items()
    }


def _key(no: No, taken: Mapping[str, object]) -> str:
    return f"{no.code}.{no.field}" if no.code in taken else no.code


def _example(no: No) -> _Node:
    body: Json = no.reply.body
    return {"summary": WHEN[no.code], "value": body}


