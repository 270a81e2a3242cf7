"""The first version of the envelope: one flat object. Read, and never written to a stream.

Its names also serve operators, who see and edit an envelope as one list of fields.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

VERSION: Final = 1


class Field(NamedTuple):
    """A field: its short key in version 1, and its place in version 2.

    `part` is the short key of a part, empty for the envelope itself; `key` is the field's
    key within the part.
    """

    short: str
    part: str
    key: str


#: Every field under its whole name.
FIELDS: Final = {
    "id": Field("i", "", "i"),
    "kind": Field("k", "", "k"),
    "dialect": Field("d", "r", "d"),
    "at": Field("t", "r", "t"),
    "workspace_id": Field("w", "r", "w"),
    "program_id": Field("pg", "l", "p"),
    "link_id": Field("l", "l", "l"),
    "namespaces": Field("ns", "l", "n"),
    "code": Field("c", "l", "c"),
    "program_number": Field("pn", "l", "m"),
    "click_id": Field("ci", "c", "i"),
    "click_dated": Field("cd", "c", "t"),
    "foreign_click": Field("cf", "c", "f"),
    "root_id": Field("r", "c", "r"),
    "root_link_id": Field("rl", "c", "l"),
    "partner_code": Field("pc", "l", "a"),
    "token": Field("tk", "c", "k"),
    "session": Field("ss", "c", "s"),
    "api_key_id": Field("ak", "r", "k"),
    "api_key_hashes": Field("ah", "r", "h"),
    "dedupe": Field("dd", "r", "r"),
    "name": Field("n", "d", "n"),
    "quantity": Field("q", "d", "q"),
    "amount": Field("am", "d", "a"),
    "currency": Field("cu", "d", "c"),
    "external_id": Field("x", "x", "i"),
    "customer_name": Field("xn", "x", "n"),
    "customer_email": Field("xe", "x", "e"),
    "sealed_email": Field("xs", "x", "s"),
    "email_hash": Field("xh", "x", "h"),
    "customer_avatar": Field("xa", "x", "a"),
    "ip": Field("ip", "u", "ip"),
    "user_agent": Field("ua", "u", "user_agent"),
    "visitor": Field("vh", "u", "visitor"),
    "referrer": Field("rf", "u", "referrer"),
    "page_url": Field("u", "u", "page_url"),
    "is_test": Field("te", "r", "x"),
    "is_duplicate": Field("du", "c", "d"),
    "is_anonymous": Field("an", "r", "g"),
    "purpose": Field("pu", "c", "p"),
    "is_erased": Field("er", "x", "x"),
    "sale_key": Field("sk", "d", "s"),
    "properties": Field("p", "d", "p"),
    "traceparent": Field("tp", "", "tp"),  # of version 3
}

_BY_SHORT: Final = {field.short: field for field in FIELDS.values()}
_NAMES: Final = {field.short: name for name, field in FIELDS.items()}
_PLACES: Final = {(field.part, field.key): name for name, field in FIELDS.items()}
#: The part that is an array, and its fields in their order.
_CLIENT: Final = "u"
_CLIENT_KEYS: Final = [field.key for field in FIELDS.values() if field.part == _CLIENT]

_DECODER: Final = msgspec.json.Decoder(dict[str, Raw])
_ENCODER: Final = msgspec.json.Encoder()
_NULL: Final = Raw(b"null")


def upgraded(raw: bytes) -> bytes:
    """The same event as version 2 writes it, with every value as it was written.

    Raises msgspec.ValidationError for a field that version 1 lacks. Values are not checked.
    """
    document = _DECODER.decode(raw)
    document.pop("v")
    restated: dict[str, Any] = {"v": VERSION + 1}
    for short, value in document.items():
        if short not in _BY_SHORT:
            raise msgspec.ValidationError(f"Object contains unknown field `{short}`")
        _, part, key = _BY_SHORT[short]
        within = restated.setdefault(part, {}) if part else restated
        within[key] = value
    if client := restated.get(_CLIENT):
        restated[_CLIENT] = [client.get(key, _NULL) for key in _CLIENT_KEYS]
    return _ENCODER.encode(restated)


def flattened(document: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON document of either version under whole names. An unknown field stays."""
    if document.get("v") == VERSION:
        return {_NAMES.get(key, key): value for key, value in document.items()}
    flat: dict[str, Any] = {}
    for key, value in document.items():
        if ("", key) in _PLACES:
            flat[_PLACES["", key]] = value
        elif isinstance(value, dict):
            for inner, item in value.items():
                flat[_PLACES.get((key, inner), f"{key}.{inner}")] = item
        elif isinstance(value, list):
            for inner, item in zip(_CLIENT_KEYS, value, strict=False):
                flat[_PLACES.get((key, inner), f"{key}.{inner}")] = item
        else:
            flat[key] = value
    return {name: value for name, value in flat.items() if value is not None}
