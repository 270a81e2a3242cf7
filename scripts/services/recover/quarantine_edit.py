"""Changing the envelope of an entry in quarantine. Used by `reftide quarantine edit`.

An envelope is read and written as its JSON, under whole names. What an event is, its id and
its time, cannot be changed: it would be another event, and what it repeats or is attributed
to would be another's.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import UUID

import orjson
from msgspec import Raw
from msgspec.structs import fields

from ingest.contracts.envelope import (
    KEYS,
    NO_PROPERTIES,
    VERSION,
    Dedupe,
    Envelope,
    Kind,
    NewerVersion,
    Undecodable,
    decode,
    encode,
)
from scripts.errors import UsageProblem
from scripts.servers import Connection
from scripts.sql import statements
from workers.quarantine.quarantine import search_columns
from workers.resolve.awaited import waits_for
from workers.resolve.lookups import KnownNames

_SQL: Final = statements("services/recover/quarantine")
_NAMES: Final = {key: name for name, key in KEYS.items()}
_FIXED: Final = ("id", "at")
_VERSION_KEY: Final = "v"

#: Of these a value is taken as it is written; of others it is JSON.
_TEXTS: Final = (str, str | None, UUID, UUID | None, Kind, bytes | None)
_TYPES: Final = {item.name: item.type for item in fields(Envelope)}


def readable(payload: bytes) -> str:
    """What an editor shows: the JSON under whole names, else the bytes as a text."""
    try:
        document = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return payload.decode("utf-8", "backslashreplace")
    if isinstance(document, dict):
        document = {_NAMES.get(key, key): value for key, value in document.items()}
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n"


def with_fields(payload: bytes, given: Mapping[str, str], gone: Iterable[str]) -> str:
    """The same with some fields set or taken out. Raises UsageProblem."""
    document = _document(readable(payload))
    for name in (*given, *gone):
        if name not in KEYS:
            raise UsageProblem(
                f"An envelope has no field {name!r}.", f"it has {', '.join(KEYS)}."
            )
    for name in gone:
        document.pop(name, None)
    document |= {name: _value(name, text) for name, text in given.items()}
    return orjson.dumps(document).decode()


def sealed(text: str, before: bytes) -> bytes:
    """The envelope that a text says, in the place of `before`. Raises UsageProblem."""
    document = {KEYS.get(name, name): value for name, value in _document(text).items()}
    try:
        envelope = decode(orjson.dumps({_VERSION_KEY: VERSION} | document))
    except (Undecodable, NewerVersion) as error:
        what = str(error) or "it is of a later release"
        raise UsageProblem(
            f"This is no envelope: {what}.", "nothing was changed; try again."
        ) from error
    for name in _changed(envelope, before):
        raise UsageProblem(
            f"The {name} of an event cannot be changed: it would be another event.",
            "nothing was changed; leave it as it is.",
        )
    return encode(envelope)


def decoded(payload: bytes) -> dict[str, Any] | None:
    """The fields that are not as by default, under their whole names."""
    try:
        envelope = decode(payload)
    except (Undecodable, NewerVersion):
        return None
    known = {item.name: getattr(envelope, item.name) for item in fields(envelope)}
    return {
        name: _plain(value)
        for name, value in known.items()
        if value not in (None, (), NO_PROPERTIES) and value is not False
    }


async def store(
    connection: Connection, row: Mapping[str, Any], payload: bytes, who: str
) -> None:
    """Put the envelope in the place of the one in `row`. Raises UsageProblem."""
    envelope = decode(payload)
    # Nobody was asked what its keys are good for; the next attempt does.
    waits = waits_for(envelope, row["reason"], KnownNames())
    found = await connection.fetchval(
        _SQL["edit"],
        row["id"],
        row["payload"],
        who,
        payload,
        *search_columns(envelope, envelope.workspace_id),
        list(waits),
    )
    if found is None:
        raise UsageProblem(
            f"The entry {row['id']} was put back, discarded or edited meanwhile.",
            f"see `reftide quarantine show {row['id']}`.",
        )


def _document(text: str) -> dict[str, Any]:
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UsageProblem(
            f"This is not JSON: {error}.", "nothing was changed; try again."
        ) from error
    if not isinstance(document, dict):
        raise UsageProblem("This is no JSON object.", "nothing was changed; try again.")
    return document


def _value(name: str, text: str) -> Any:
    if _TYPES[name] in _TEXTS:
        return text
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UsageProblem(
            f"The value of {name} is not JSON: {error}.", "nothing was changed."
        ) from error


def _changed(envelope: Envelope, before: bytes) -> Iterable[str]:
    """What of an event is another than it was, and may not be."""
    try:
        former = decode(before)
    except (Undecodable, NewerVersion):
        return
    for name in _FIXED:
        if getattr(envelope, name) != getattr(former, name):
            yield name


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Dedupe):
        return {"scope": value.scope, "key": value.key.hex()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Raw):
        return _told(value)
    return value


def _told(properties: Raw) -> object:
    text = str(properties, "utf-8")
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text  # it has a number beyond all of Python's, which no edge seals
