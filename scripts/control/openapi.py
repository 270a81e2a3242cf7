"""The OpenAPI 3.1 document of `/control/v1`, made of the routes and their declared fields."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from ingest.reference.openapi import IDEMPOTENCY, SCHEMES
from ingest.reference.schemas import JSON, Node
from scripts.control.problems import CODES
from scripts.control.routes import BASE, Route, own_routes
from scripts.services.noun import NounField

_VARIABLE: Final = re.compile(r"\{(\w+)\}")
_PROBLEM: Final = {"$ref": "#/components/schemas/Problem"}
_ANY: Final[Node] = {"type": ["string", "integer", "array", "object", "null"]}


def document(version: str) -> Node:
    """The document of all routes of our own."""
    paths: dict[str, Node] = {}
    for route in own_routes():
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Reftide control API",
            "version": version,
            "description": "What operators administer, for one workspace: that of the"
            " secret key. Answers of PATCH and DELETE respect `If-Match`.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "security": [{"authorization": []}, {"x-api-key": []}],
        "components": {
            "securitySchemes": SCHEMES,
            "schemas": {"Problem": _problem()},
        },
    }


def _problem() -> Node:
    error = {
        "code": {"type": "string", "enum": [*CODES.values()]},
        "message": {"type": "string"},
        "field": {"type": "string"},
    }
    inner = {
        "type": "object",
        "properties": error,
        "required": ["code", "message"],
    }
    return {"type": "object", "properties": {"error": inner}, "required": ["error"]}


def _operation(route: Route) -> Node:
    scopes = " or ".join(f"`{scope}`" for scope in sorted(route.scopes)) or "`*`"
    operation: Node = {
        "tags": [route.path.removeprefix(f"{BASE}/").partition("/")[0]],
        "operationId": _operation_id(route),
        "summary": route.summary,
        "description": f"Needs an API key with the scope {scopes}, or `*`.",
        "parameters": [*_in_path(route), *map(_in_query, route.query.items())],
        "responses": _responses(route),
    }
    if route.method != "GET":
        operation["parameters"].append(IDEMPOTENCY)
    if route.body:
        schema = _object(route.body)
        if route.is_many:
            schema = {"type": "array", "items": schema, "minItems": 1, "maxItems": 1000}
        is_required = any(field.is_required for field in route.body.values())
        operation["requestBody"] = {
            "required": is_required or route.is_many,
            "content": {JSON: {"schema": schema}},
        }
    return operation


def _operation_id(route: Route) -> str:
    words = re.sub(r"\W+", " ", route.path.removeprefix(BASE)).split()
    return "_".join([route.method.lower(), *words])


def _in_path(route: Route) -> list[Node]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _VARIABLE.findall(route.path)
    ]


def _in_query(named: tuple[str, NounField]) -> Node:
    name, field = named
    schema: Node = {"type": "string"}
    if field.is_switch:
        schema = {"type": "boolean"}
    elif field.choices:
        schema["enum"] = [*field.choices]
    return {"name": name, "in": "query", "description": field.help, "schema": schema}


def _object(fields: Mapping[str, NounField]) -> Node:
    required = [name for name, field in fields.items() if field.is_required]
    return {
        "type": "object",
        "properties": {name: _value(field) for name, field in fields.items()},
        "additionalProperties": False,
        **({"required": required} if required else {}),
    }


def _value(field: NounField) -> Node:
    about: Node = {"description": field.help} if field.help else {}
    if field.is_switch:
        return {"type": "boolean", **about}
    if field.choices:
        return {"type": "string", "enum": [*field.choices], **about}
    return {**_ANY, **about}


def _responses(route: Route) -> Node:
    done = HTTPStatus.CREATED if route.method == "POST" else HTTPStatus.OK
    found: dict[str, Any] = {
        str(done.value): {
            "description": done.phrase,
            "content": {JSON: {"schema": {"type": "object"}}},
        }
    }
    for status in map(HTTPStatus, CODES):
        found[str(status.value)] = {
            "description": status.phrase,
            "content": {JSON: {"schema": _PROBLEM}},
        }
    return found
