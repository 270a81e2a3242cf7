"""Envelopes of fields under whole names, whichever part each of them is in."""

from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import fields, replace

from ingest.contracts.encoding.version_1 import FIELDS
from ingest.contracts.envelope import PARTS, Envelope


def _places() -> dict[str, tuple[str, str]]:
    names = {(field.part, field.key): name for name, field in FIELDS.items()}
    found: dict[str, tuple[str, str]] = {}
    for part in fields(Envelope):
        for item in fields(PARTS[part.name]) if part.name in PARTS else ():
            name = names[part.encode_name, item.encode_name]
            found[name] = (part.name, item.name)
    return found


#: The part and the field of every whole name that stands in a part.
PLACES = _places()


def an_envelope(**given: Any) -> Envelope:
    """The envelope of these fields; its properties are given as a dictionary."""
    if told := given.pop("properties", None):
        given["properties"] = Raw(msgspec.json.encode(told))
    parts: dict[str, dict[str, Any]] = {}
    own = {name: value for name, value in given.items() if name not in PLACES}
    for name in given.keys() & PLACES.keys():
        part, field = PLACES[name]
        parts.setdefault(part, {})[field] = given[name]
    return Envelope(
        **own, **{name: PARTS[name](**part) for name, part in parts.items()}
    )


def changed(envelope: Envelope, **given: Any) -> Envelope:
    """The same envelope with other values for some fields."""
    for name, value in given.items():
        part, field = PLACES.get(name, ("", name))
        change = {field: value}
        if part:
            change = {part: replace(getattr(envelope, part), **change)}
        envelope = replace(envelope, **change)
    return envelope


def flat(envelope: Envelope) -> dict[str, Any]:
    """Every field of an envelope under its whole name."""
    within = {
        name: getattr(getattr(envelope, part), field)
        for name, (part, field) in PLACES.items()
    }
    return {"id": envelope.id, "kind": envelope.kind, **within}
