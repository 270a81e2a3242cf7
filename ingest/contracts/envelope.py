"""The envelope: one event as the edge sealed it. Anyone may import this.

Sealed once and never changed: enrichment is a new value beside it. The same module encodes
and decodes. The encoding is a JSON object with short keys, absent where a field has its
default, so that an operator can read an entry and Redis holds few bytes of it.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from enum import StrEnum
from hashlib import blake2b
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson

from ingest.contracts.storable import Json

VERSION: Final = 1

_FOR_GOOD: Final = frozenset({"lead", "sale", "convert", "link"})


class Kind(StrEnum):
    """What happened. `DEFERRED` leads and generated `LINK`s are kept and count nothing."""

    CLICK = "click"
    LEAD = "lead"
    SALE = "sale"
    DEFERRED = "deferred"
    LINK = "link"


class Dedupe(NamedTuple):
    """Two events of one workspace with equal scope and key are one event."""

    scope: str
    key: bytes  # 16 bytes

    @property
    def is_for_good(self) -> bool:
        """Whether the vendor's rule has no end; idempotency keys expire."""
        return self.scope in _FOR_GOOD

    @classmethod
    def of(cls, scope: str, *parts: str) -> "Dedupe":
        """The key of some texts; their borders count, so `ab, c` is not `a, bc`."""
        digest = blake2b(digest_size=16)
        for part in parts:
            raw = part.encode("utf-8", "surrogatepass")
            digest.update(len(raw).to_bytes(4))
            digest.update(raw)
        return cls(scope, digest.digest())


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One event. Times are Unix milliseconds; texts are storable and bounded.

    A click names its link by `link_id`, or, where the edge had no directory to ask, by
    `namespaces` and `code`. A lead or sale names its click by `click_id` and that click's
    `link_id`, or its customer by `external_id`, or, without a click, its link like a click
    does. `root_id` is the click id that a click's visitor already carried (and `root_link_id`
    that click's link).

    A link that an edge generated and that nobody has recorded yet is named by `code`,
    `program_id` and `partner_code`: enough for any event that names it to make it.
    """

    id: UUID
    kind: Kind
    dialect: str
    #: When it happened: when the edge accepted it, unless the dialect knows better.
    at: int
    workspace_id: UUID | None = None
    program_id: UUID | None = None
    link_id: UUID | None = None
    #: Where to look for `code`, best first; empty when the edge resolved the link.
    namespaces: tuple[str, ...] = ()
    code: str | None = None
    #: The public number of a program that the edge could not resolve.
    program_number: int | None = None
    click_id: UUID | None = None
    #: A click id that is not of our making and that the edge could not resolve.
    foreign_click: str | None = None
    root_id: UUID | None = None
    root_link_id: UUID | None = None
    #: The partner of a generated link, by the partner's own short name.
    partner_code: str | None = None
    #: The short click id that the client was told instead of the signed one.
    token: str | None = None
    #: The client's own name of a visit; a lead of the same session and link converts it.
    session: str | None = None
    #: The key that authorised it, or, unverified, the hashes of the key that came with it.
    api_key_id: UUID | None = None
    api_key_hashes: tuple[bytes, ...] = ()
    dedupe: Dedupe | None = None
    name: str | None = None
    quantity: int = 1
    #: What a sale is worth, in minor units of `currency` (ISO 4217, upper case).
    amount: int | None = None
    currency: str | None = None
    external_id: str | None = None
    customer_name: str | None = None
    customer_email: str | None = None
    customer_avatar: str | None = None
    #: Truncated to /24 or /48 unless the operator chose otherwise.
    ip: str | None = None
    user_agent: str | None = None
    #: Keyed hash of address and user agent, 8 bytes; tells repeat visitors, not people.
    visitor: bytes | None = None
    referrer: str | None = None
    page_url: str | None = None
    is_test: bool = False
    is_duplicate: bool = False
    #: It says nothing of a person any more; see `workers.erasure`.
    is_erased: bool = False
    properties: Mapping[str, Json] = field(default_factory=dict)


class Undecodable(Exception):
    """These bytes are no envelope: a data fault of this one entry."""


class NewerVersion(Exception):
    """An envelope of a later release: leave it to a worker that knows it."""


def encode(envelope: Envelope) -> bytes:
    """The envelope's bytes; raises nothing for storable values."""
    out: dict[str, object] = {"v": VERSION}
    for name, key, default, to_json, _ in _CODEC:
        value = getattr(envelope, name)
        if value != default:
            out[key] = to_json(value)
    return orjson.dumps(out)


def decode(raw: bytes) -> Envelope:
    """The envelope of some bytes; raises Undecodable or NewerVersion, nothing else."""
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Undecodable(f"not JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("v"), int):
        raise Undecodable("not an object with a version")
    if document.pop("v") > VERSION:
        raise NewerVersion
    return _from_document(document)


def is_newer(raw: bytes) -> bool:
    """Whether these bytes are an envelope of a later release."""
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return False
    version = document.get("v") if isinstance(document, dict) else None
    return isinstance(version, int) and version > VERSION


def digest(raw: bytes) -> int:
    """63 bits of the encoded bytes: breaks ties between attempts under one id."""
    return int.from_bytes(blake2b(raw, digest_size=8).digest()) >> 1


def _from_document(document: dict[str, Any]) -> Envelope:
    values: dict[str, Any] = {}
    for name, key, _, _, from_json in _CODEC:
        if key in document:
            try:
                values[name] = from_json(document.pop(key))
            except (TypeError, ValueError, AttributeError) as error:
                raise Undecodable(f"{name}: {error}") from error
    if document:
        raise Undecodable(f"unknown fields: {', '.join(sorted(document))}")
    try:
        return Envelope(**values)
    except TypeError as error:
        raise Undecodable(str(error)) from error


def _same(value: Any) -> Any:
    return value


def _typed(kind: type) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"expected {kind.__name__}")
        return value

    return check


#: Until the year 9999, which Python's times do not leave.
_MAX_MS: Final = 253_370_764_800_000


def _text(value: Any) -> str:
    if type(value) is not str or "\0" in value:
        raise TypeError("expected a text without NUL")
    return value


def _whole(low: int, end: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if type(value) is not int or not low <= value < end:
            raise TypeError("expected an integer in range")
        return value

    return check


def _dedupe_from(value: list[str]) -> Dedupe:
    scope, key = value
    return Dedupe(_text(scope), b64decode(key))


class _Form(NamedTuple):
    """How one type of field is written and read."""

    to_json: Callable[[Any], object]
    from_json: Callable[[Any], Any]


_UUID = _Form(lambda value: value.hex, UUID)
_TEXT = _Form(_same, _text)
_LONG = _Form(_same, _whole(-(2**63), 2**63))
_COUNT = _Form(_same, _whole(0, 2**31))
_TIME = _Form(_same, _whole(0, _MAX_MS))
_FLAG = _Form(int, bool)
_BYTES = _Form(lambda value: b64encode(value).decode(), b64decode)
_TEXTS = _Form(list, lambda value: tuple(map(_text, value)))
_HASHES = _Form(
    lambda value: [b64encode(item).decode() for item in value],
    lambda value: tuple(map(b64decode, value)),
)

_FORMS: Final[dict[str, tuple[str, _Form]]] = {
    "id": ("i", _UUID),
    "kind": ("k", _Form(str, Kind)),
    "dialect": ("d", _TEXT),
    "at": ("t", _TIME),
    "workspace_id": ("w", _UUID),
    "program_id": ("pg", _UUID),
    "link_id": ("l", _UUID),
    "namespaces": ("ns", _TEXTS),
    "code": ("c", _TEXT),
    "program_number": ("pn", _LONG),
    "click_id": ("ci", _UUID),
    "foreign_click": ("cf", _TEXT),
    "root_id": ("r", _UUID),
    "root_link_id": ("rl", _UUID),
    "partner_code": ("pc", _TEXT),
    "token": ("tk", _TEXT),
    "session": ("ss", _TEXT),
    "api_key_id": ("ak", _UUID),
    "api_key_hashes": ("ah", _HASHES),
    "dedupe": (
        "dd",
        _Form(lambda value: [value.scope, b64encode(value.key).decode()], _dedupe_from),
    ),
    "name": ("n", _TEXT),
    "quantity": ("q", _COUNT),
    "amount": ("am", _LONG),
    "currency": ("cu", _TEXT),
    "external_id": ("x", _TEXT),
    "customer_name": ("xn", _TEXT),
    "customer_email": ("xe", _TEXT),
    "customer_avatar": ("xa", _TEXT),
    "ip": ("ip", _TEXT),
    "user_agent": ("ua", _TEXT),
    "visitor": ("vh", _BYTES),
    "referrer": ("rf", _TEXT),
    "page_url": ("u", _TEXT),
    "is_test": ("te", _FLAG),
    "is_duplicate": ("du", _FLAG),
    "is_erased": ("er", _FLAG),
    "properties": ("p", _Form(_same, _typed(dict))),
}

#: The short keys of the encoding, by the fields' names.
KEYS: Final = {name: key for name, (key, _) in _FORMS.items()}

_ABSENT: Final = object()


def _default(name: str) -> object:
    declared = next(item for item in fields(Envelope) if item.name == name)
    if callable(declared.default_factory):
        return declared.default_factory()
    return _ABSENT if declared.default is MISSING else declared.default


_CODEC: Final = tuple(
    (name, key, _default(name), form.to_json, form.from_json)
    for name, (key, form) in _FORMS.items()
)
