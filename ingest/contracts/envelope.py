"""The envelope: one event as the edge sealed it.

Sealed once and never changed: enrichment is a new value beside it. The same module encodes
and decodes. The encoding is a JSON object with short keys, absent where a field has its
default, so that an operator can read an entry and Redis holds few bytes of it.
"""

from enum import StrEnum
from hashlib import blake2b
from typing import Annotated, Any, Final, NamedTuple
from uuid import UUID

import msgspec

VERSION: Final = 1

_FOR_GOOD: Final = frozenset({"lead", "sale", "convert", "link"})


class Kind(StrEnum):
    """What happened. `DEFERRED` leads and generated `LINK`s are kept and count nothing."""

    CLICK = "click"
    LEAD = "lead"
    SALE = "sale"
    DEFERRED = "deferred"
    LINK = "link"


#: For what is asked of every event: Python 3.11 finds a member by its name slowly.
CLICK: Final = Kind.CLICK


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


#: The short keys of the encoding, by the fields' names.
KEYS: Final = {
    "id": "i",
    "kind": "k",
    "dialect": "d",
    "at": "t",
    "workspace_id": "w",
    "program_id": "pg",
    "link_id": "l",
    "namespaces": "ns",
    "code": "c",
    "program_number": "pn",
    "click_id": "ci",
    "foreign_click": "cf",
    "root_id": "r",
    "root_link_id": "rl",
    "partner_code": "pc",
    "token": "tk",
    "session": "ss",
    "api_key_id": "ak",
    "api_key_hashes": "ah",
    "dedupe": "dd",
    "name": "n",
    "quantity": "q",
    "amount": "am",
    "currency": "cu",
    "external_id": "x",
    "customer_name": "xn",
    "customer_email": "xe",
    "customer_avatar": "xa",
    "ip": "ip",
    "user_agent": "ua",
    "visitor": "vh",
    "referrer": "rf",
    "page_url": "u",
    "is_test": "te",
    "is_duplicate": "du",
    "is_erased": "er",
    "properties": "p",
}

#: Until the year 9999, which Python's times do not leave.
_Time = Annotated[int, msgspec.Meta(ge=0, lt=253_370_764_800_000)]
_Long = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Count = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]

#: Of an event of which nothing else was told. It is this object that is left out of the
#: encoding.
NO_PROPERTIES: Final = msgspec.Raw(b"{}")


class Envelope(
    msgspec.Struct,
    frozen=True,
    gc=False,
    rename=KEYS,
    omit_defaults=True,
    forbid_unknown_fields=True,
    tag_field="v",
    tag=VERSION,
):
    """One event. Times are Unix milliseconds; texts are storable and bounded.

    A click names its link by `link_id`, or, where the edge had no directory to ask, by
    `namespaces` and `code`. A lead or sale names its click by `click_id` and that click's
    `link_id`, or its customer by `external_id`, or, without a click, its link like a click
    does. `root_id` is the click id that a click's visitor already carried (and `root_link_id`
    that click's link).

    `program_id` is said where the link does not say it.

    A link that an edge generated and that nobody has recorded yet is named by `code`,
    `program_id` and `partner_code`: enough for any event that names it to make it.
    """

    id: UUID
    kind: Kind
    dialect: str
    #: When it happened: when the edge accepted it, unless the dialect knows better.
    at: _Time
    workspace_id: UUID | None = None
    program_id: UUID | None = None
    link_id: UUID | None = None
    #: Where to look for `code`, best first; empty when the edge resolved the link.
    namespaces: tuple[str, ...] = ()
    code: str | None = None
    #: The public number of a program that the edge could not resolve.
    program_number: _Long | None = None
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
    quantity: _Count = 1
    #: What a sale is worth, in minor units of `currency` (ISO 4217, upper case).
    amount: _Long | None = None
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
    #: What else was told: a JSON object as it was written, which nobody has to read.
    properties: msgspec.Raw = NO_PROPERTIES
    #: It says nothing of a person any more; see `workers.erasure`.
    is_erased: bool = False

    @property
    def told(self) -> dict[str, Any]:
        """The properties, read. Raises msgspec.DecodeError for a number that Python lacks."""
        return msgspec.json.decode(self.properties, type=dict[str, Any])


class Undecodable(Exception):
    """These bytes are no envelope: a data fault of this one entry."""


class NewerVersion(Exception):
    """An envelope of a later release: leave it to a worker that knows it."""


class _Version(msgspec.Struct):
    """What every release's envelope has."""

    v: int


_ENCODER: Final = msgspec.json.Encoder(uuid_format="hex")
_DECODER: Final = msgspec.json.Decoder(Envelope)
_VERSIONS: Final = msgspec.json.Decoder(_Version)

#: To copy it takes less than to make one.
_DIGEST: Final = blake2b(digest_size=8)

#: What decoding raises: no JSON, not of this shape, no UTF-8, too deep.
_MALFORMED: Final = (msgspec.DecodeError, ValueError, RecursionError)

#: How JSON writes a NUL, which no column of text takes. It may be half of something else.
_NUL: Final = b"\\u0000"
#: Without it there is none, and a single byte is looked for much faster.
_ESCAPE: Final = ord("\\")


def encode(envelope: Envelope) -> bytes:
    """The envelope's bytes; raises nothing for storable values."""
    return _ENCODER.encode(envelope)


def decode(raw: bytes) -> Envelope:
    """The envelope of some bytes; raises Undecodable or NewerVersion, nothing else."""
    try:
        envelope = _DECODER.decode(raw)
        _check(envelope.properties)
    except _MALFORMED as error:
        if is_newer(raw):
            raise NewerVersion from error
        raise Undecodable(str(error)) from error
    if _ESCAPE in raw and _NUL in raw:
        _refuse_nul(envelope)
    return envelope


def is_newer(raw: bytes) -> bool:
    """Whether these bytes are an envelope of a later release."""
    try:
        return _VERSIONS.decode(raw).v > VERSION
    except _MALFORMED:
        return False


def digest(raw: bytes) -> int:
    """63 bits of the encoded bytes: breaks ties between attempts under one id."""
    hashing = _DIGEST.copy()
    hashing.update(raw)
    return int.from_bytes(hashing.digest()) >> 1


def _check(properties: msgspec.Raw) -> None:
    """Raise ValueError for what the decoder has passed over: other values, no UTF-8."""
    if properties is not NO_PROPERTIES and str(properties, "utf-8")[0] != "{":
        raise ValueError("properties: expected an object")


def _refuse_nul(envelope: Envelope) -> None:
    for name in KEYS:
        value = getattr(envelope, name)
        texts = value if isinstance(value, tuple) else (value,)
        if any(isinstance(text, str) and "\0" in text for text in texts):
            raise Undecodable(f"{name}: expected a text without NUL")
