"""Changing the envelope of an entry in quarantine.

An operator reads and writes an envelope as one JSON object under whole names, in the shape
of its first version. What an event is, its id and
its time, cannot be changed: it would be another event, and what it repeats or is attributed
to would be another's.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from uuid import UUID

import orjson
from msgspec import Raw
from msgspec.structs import FieldInfo, fields

from ingest.contracts.encoding.envelopes import VERSION as CURRENT
from ingest.contracts.encoding.envelopes import (
    NewerVersion,
    Undecodable,
    decode,
    encode,
)
from ingest.contracts.encoding.version_1 import FIELDS, VERSION, flattened
from ingest.contracts.envelope import (
    NO_PROPERTIES,
    PARTS,
    PLAIN_VERSION,
    Dedupe,
    Envelope,
    Kind,
)
from scripts.errors import UsageProblem
from scripts.servers import Connection
from scripts.sql import statements
from workers.quarantine.quarantine import search_columns
from workers.resolve.lookups import KnownNames
from workers.resolve.resolver import waits_for

_SQL: Final = statements("services/recover/quarantine")
_FIXED: Final = ("id", "at")
_VERSION_KEY: Final = "v"

#: Of these a value is taken as it is written; of others it is JSON.
_TEXTS: Final = (str, str | None, UUID, UUID | None, Kind, bytes | None)


def _places() -> Iterator[tuple[str, tuple[str, FieldInfo]]]:
    """Each field under its whole name: the part that it is in, and what it is."""
    names = {(field.part, field.key): name for name, field in FIELDS.items()}
    for part in fields(Envelope):
        if part.name not in PARTS:
            yield names["", part.encode_name], ("", part)
            continue
        for item in fields(PARTS[part.name]):
            yield names[part.encode_name, item.encode_name], (part.name, item)


_PLACES: Final = dict(_places())


def readable(payload: bytes) -> str:
    """What an editor shows: the JSON under whole names, else the bytes as a text."""
    try:
        document = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return payload.decode("utf-8", "backslashreplace")
    if isinstance(document, dict):
        document = flattened(document)
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n"


def with_fields(payload: bytes, given: Mapping[str, str], gone: Iterable[str]) -> str:
    """The same with some fields set or taken out. Raises UsageProblem."""
    document = _document(readable(payload))
    for name in (*given, *gone):
        if name not in FIELDS:
            raise UsageProblem(
                f"An envelope has no field {name!r}.", f"it has {', '.join(FIELDS)}."
            )
    for name in gone:
        document.pop(name, None)
    document |= {name: _value(name, text) for name, text in given.items()}
    return orjson.dumps(document).decode()


def sealed(text: str, before: bytes) -> bytes:
    """The envelope that a text says, in the place of `before`. Raises UsageProblem."""
    document = {_short(name): value for name, value in _document(text).items()}
    if document.get(_VERSION_KEY, CURRENT) in range(PLAIN_VERSION, CURRENT + 1):
        document[_VERSION_KEY] = VERSION
    try:
        envelope = decode(orjson.dumps(document))
    except (Undecodable, NewerVersion) as error:
        what = str(error) or "it is of a later release"
        raise UsageProblem(
            f"This is no envelope: {what}.", "nothing was changed; try again."
        ) from error
    _require_same(envelope, before)
    return encode(envelope)


def decoded(payload: bytes) -> dict[str, Any] | None:
    """The fields that are not as by default, under their whole names."""
    try:
        envelope = decode(payload)
    except (Undecodable, NewerVersion):
        return None
    return {
        name: _plain(value)
        for name in FIELDS
        if (value := _value_of(envelope, name)) not in (None, (), NO_PROPERTIES)
        and value is not False
    }


async def store(
    connection: Connection, row: Mapping[str, Any], payload: bytes, who: str
) -> None:
    """Put the envelope in the place of the one in `row`. Raises UsageProblem."""
    envelope = decode(payload)
    # Its names are resolved by the next attempt, not here.
    waits = waits_for(envelope, row["reason"], KnownNames())
    found = await connection.fetchval(
        _SQL["edit"],
        row["id"],
        row["payload"],
        who,
        payload,
        *search_columns(envelope, envelope.request.workspace_id),
        list(waits),
    )
    if found is None:
        raise UsageProblem(
            f"The entry {row['id']} was put back, discarded or edited meanwhile.",
            f"see `reftide quarantine show {row['id']}`.",
        )


def _short(name: str) -> str:
    return FIELDS[name].short if name in FIELDS else name


def _value_of(envelope: Envelope, name: str) -> Any:
    part, field = _PLACES[name]
    return getattr(getattr(envelope, part) if part else envelope, field.name)


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
    if _PLACES[name][1].type in _TEXTS:
        return text
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UsageProblem(
            f"The value of {name} is not JSON: {error}.", "nothing was changed."
        ) from error


def _require_same(envelope: Envelope, before: bytes) -> None:
    """Raises UsageProblem where it is another event than `before`."""
    try:
        former = decode(before)
    except (Undecodable, NewerVersion):
        return
    for name in _FIXED:
        if _value_of(envelope, name) != _value_of(former, name):
            raise UsageProblem(
                f"The {name} of an event cannot be changed: it would be another event.",
                "nothing was changed; leave it as it is.",
            )


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Dedupe):
        return {"scope": value.scope, "key": value.key.hex()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Raw):
        text = str(value, "utf-8")
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            return text  # it has a number beyond all of Python's, which no edge seals
    return value
