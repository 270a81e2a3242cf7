"""The JSON object in a request's body, and typed ways to read its fields.

Imported by the dialects. Nobody asks for the content type: `sendBeacon` says `text/plain`,
and a request without a body says nothing.
"""

import re
from collections.abc import Mapping
from typing import Final

import orjson

from ingest.contracts.storable import Json
from ingest.dialects.spec import Refusal

#: How many objects and arrays may lie inside one another, the outermost included.
MAX_DEPTH: Final = 32

# A whole surrogate pair, a lone half of one (captured), or any other escape. Reading escape
# by escape keeps `\\ud800`, a backslash and five letters, what it is.
_ESCAPE: Final = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
    rb"|\\.",
    re.DOTALL,
)

_INT32_MAX: Final = 2**31 - 1
_DIGITS: Final = re.compile(r"[0-9]{1,10}")


def json_object(raw: bytes) -> dict[str, Json]:
    """The object that a body holds; an empty body is an empty object.

    Raises Refusal `body_malformed` for what is not JSON, not UTF-8, not an object, or nested
    deeper than MAX_DEPTH. Integers beyond 64 bits arrive as floats.
    """
    if not raw.strip():
        return {}
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        value = _loads_mended(raw)
    if not isinstance(value, dict) or _is_too_deep(raw, value):
        raise Refusal("body_malformed")
    return value


def lenient_text(body: Mapping[str, Json], name: str) -> str | None:
    """A text that is there and not empty; anything else is nothing."""
    value = body.get(name)
    return value if isinstance(value, str) and value else None


def lenient_integer(body: Mapping[str, Json], name: str) -> int | None:
    """A positive 32-bit integer, also in decimal digits; anything else is nothing."""
    value = body.get(name)
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    return value if type(value) is int and 0 < value <= _INT32_MAX else None


def optional_text(
    body: Mapping[str, Json], name: str, limit: int | None = None
) -> str | None:
    """A text of at most `limit` characters; absent, null and empty are nothing.

    Raises Refusal `field_invalid` for every other value.
    """
    value = body.get(name)
    if value is None:
        return None
    return _checked(name, value, "must be a string or null", limit) or None


def required_text(body: Mapping[str, Json], name: str, limit: int | None = None) -> str:
    """A text of at most `limit` characters, as it was sent.

    Raises Refusal `field_missing` where it is absent, null or blank, and `field_invalid` for
    every other value.
    """
    value = body.get(name)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise Refusal("field_missing", field=name)
    return _checked(name, value, "must be a string", limit)


def optional_object(
    body: Mapping[str, Json], name: str, limit: int
) -> Mapping[str, Json]:
    """An object of at most `limit` characters of JSON; absent and null are an empty one.

    Raises Refusal `field_invalid` for every other value.
    """
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Refusal("field_invalid", field=name, problem="must be an object or null")
    if len(orjson.dumps(value).decode()) > limit:
        problem = f"must be at most {limit} characters of JSON"
        raise Refusal("field_invalid", field=name, problem=problem)
    return value


def _checked(name: str, value: Json, problem: str, limit: int | None) -> str:
    if not isinstance(value, str):
        raise Refusal("field_invalid", field=name, problem=problem)
    if limit is not None and len(value) > limit:
        problem = f"must be at most {limit} characters"
        raise Refusal("field_invalid", field=name, problem=problem)
    return value


def _loads_mended(raw: bytes) -> object:
    """A document that only lone surrogates spoil, with U+FFFD in their places.

    JavaScript cuts texts between the halves of an emoji and escapes the half that is left
    (ECMA-262, JSON.stringify); a page title cut like that is no reason to lose an event.
    """
    mended = _ESCAPE.sub(lambda match: rb"\ufffd" if match[1] else match[0], raw)
    if mended == raw:
        raise Refusal("body_malformed")
    try:
        return orjson.loads(mended)
    except orjson.JSONDecodeError as error:
        raise Refusal("body_malformed") from error


def _is_too_deep(raw: bytes, value: Json) -> bool:
    # Most bodies hold few brackets, and counting bytes is much cheaper than walking.
    if raw.count(b"{") + raw.count(b"[") <= MAX_DEPTH:
        return False
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _containers(outer)]
        if not level:
            return False
    return True


def _containers(value: Json) -> list[Json]:
    if isinstance(value, dict):
        items = list(value.values())
    else:
        items = value if isinstance(value, list) else []
    return [item for item in items if isinstance(item, (dict, list))]
