"""The envelope: one event as the edge sealed it.

Sealed once and never changed: enrichment is a new value beside it. The same module encodes
and decodes. The encoding is a JSON object with short keys, absent where a field has its
default, so that an operator can read an entry and Redis holds few bytes of it.

Version 1, one flat object, is decoded as well; `envelope_v1` restates it. Version 3 is version
2 with a trace context: a former release leaves it to a worker that knows it.
"""

from collections.abc import Mapping
from enum import StrEnum
from hashlib import blake2b
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args
from uuid import UUID

import msgspec
from msgspec.structs import asdict

from ingest.contracts import envelope_v1

#: The latest version that this release reads.
VERSION: Final = 3
#: Without a trace context.
PLAIN_VERSION: Final = 2

#: Scopes of leads' dedupe keys: those that an API key vouches for, and those that none does.
LEAD_SCOPE: Final = "lead"
KEYLESS_LEAD_SCOPE: Final = "keyless_lead"

_FOR_GOOD: Final = frozenset(
    {LEAD_SCOPE, KEYLESS_LEAD_SCOPE, "sale", "convert", "link"}
)


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


#: Until the year 9999, which Python's times do not leave.
_Time = Annotated[int, msgspec.Meta(ge=0, lt=253_370_764_800_000)]
_Long = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Count = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]

#: Of an event that brought no properties. The encoding leaves out this very object.
NO_PROPERTIES: Final = msgspec.Raw(b"{}")


class _Part(
    msgspec.Struct,
    frozen=True,
    gc=False,
    kw_only=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
):
    """What every part of an envelope has in common, and the envelope itself."""


class Request(
    _Part,
    frozen=True,
    rename={
        "dialect": "d",
        "at": "t",
        "workspace_id": "w",
        "api_key_id": "k",
        "api_key_hashes": "h",
        "dedupe": "r",
        "is_test": "x",
        "is_anonymous": "g",
    },
):
    """How the event came in: through which API, when, and whose key vouches for it."""

    dialect: str
    #: When it happened: when the edge accepted it, unless the dialect knows better.
    at: _Time
    workspace_id: UUID | None = None
    #: The key that authorised it, or, unverified, the hashes of the key that came with it.
    api_key_id: UUID | None = None
    api_key_hashes: tuple[bytes, ...] = ()
    dedupe: Dedupe | None = None
    is_test: bool = False
    #: The browser sent `Sec-GPC: 1`, so the event says nothing of where it came from.
    is_anonymous: bool = False


class Target(
    _Part,
    frozen=True,
    rename={
        "link_id": "l",
        "namespaces": "n",
        "code": "c",
        "program_id": "p",
        "program_number": "m",
        "partner_code": "a",
    },
):
    """The link that the event names, by its id or by what the edge could not resolve."""

    link_id: UUID | None = None
    #: Where to look for `code`, best first; empty when the edge resolved the link.
    namespaces: tuple[str, ...] = ()
    code: str | None = None
    #: The program, where the link does not say it.
    program_id: UUID | None = None
    #: The public number of a program that the edge could not resolve.
    program_number: _Long | None = None
    #: The partner of a generated link, by the partner's own short name.
    partner_code: str | None = None


#: For what a browser loads a page that it does not show.
Purpose = Literal["prerender", "prefetch"]
PURPOSES: Final[tuple[Purpose, ...]] = get_args(Purpose)


class Click(
    _Part,
    frozen=True,
    rename={
        "id": "i",
        "dated": "t",
        "foreign_id": "f",
        "root_id": "r",
        "root_link_id": "l",
        "token": "k",
        "session": "s",
        "is_duplicate": "d",
        "purpose": "p",
    },
):
    """The click that a lead names, or what a click says of its visitor's other clicks."""

    id: UUID | None = None
    #: When it happened, as its click id says; None: when its id was minted.
    dated: _Time | None = None
    #: A click id that is not of our making and that the edge could not resolve.
    foreign_id: str | None = None
    #: The click id that a click's visitor already carried, and that click's link.
    root_id: UUID | None = None
    root_link_id: UUID | None = None
    #: The short click id that the client was told instead of the signed one.
    token: str | None = None
    #: The client's own name of a visit; a lead of the same session and link converts it.
    session: str | None = None
    is_duplicate: bool = False
    purpose: Purpose | None = None


class Customer(
    _Part,
    frozen=True,
    rename={
        "external_id": "i",
        "name": "n",
        "email": "e",
        "sealed_email": "s",
        "email_hash": "h",
        "avatar": "a",
        "is_erased": "x",
    },
):
    """Who the customer is, as far as the sender says."""

    external_id: str | None = None
    name: str | None = None
    #: From an edge that had no key to seal it with.
    email: str | None = None
    #: The address as `EmailKey` seals it.
    sealed_email: bytes | None = None
    #: `EmailKey.hash` of an address that is kept in no other form.
    email_hash: bytes | None = None
    avatar: str | None = None
    #: The envelope says nothing of a person any more; see `workers.erasure`.
    is_erased: bool = False


class Client(_Part, frozen=True, array_like=True):
    """What the edge saw of the visitor. An array: a click has most of the fields."""

    #: Truncated to /24 or /48 unless the operator chose otherwise.
    ip: str | None = None
    user_agent: str | None = None
    #: Keyed hash of address and user agent, 8 bytes; tells repeat visitors, not people.
    visitor: bytes | None = None
    referrer: str | None = None
    page_url: str | None = None


class Details(
    _Part,
    frozen=True,
    rename={
        "name": "n",
        "quantity": "q",
        "amount": "a",
        "currency": "c",
        "properties": "p",
    },
):
    """What happened, in the sender's words, and what it is worth."""

    name: str | None = None
    quantity: _Count = 1
    #: What a sale is worth, in minor units of `currency` (ISO 4217, upper case).
    amount: _Long | None = None
    currency: str | None = None
    #: What else the sender said: a JSON object as it was written, which nobody has to read.
    properties: msgspec.Raw = NO_PROPERTIES

    @property
    def parsed_properties(self) -> dict[str, Any]:
        """Raises msgspec.DecodeError for a number that Python lacks."""
        return msgspec.json.decode(self.properties, type=dict[str, Any])


#: Parts that say nothing. The encoding leaves out these very objects.
NO_TARGET: Final = Target()
NO_CLICK: Final = Click()
NO_CUSTOMER: Final = Customer()
NO_CLIENT: Final = Client()
NO_DETAILS: Final = Details()


class Envelope(
    _Part,
    frozen=True,
    tag_field="v",
    tag=PLAIN_VERSION,
    rename={
        "id": "i",
        "kind": "k",
        "request": "r",
        "target": "l",
        "click": "c",
        "customer": "x",
        "client": "u",
        "details": "d",
        "traceparent": "tp",
    },
):
    """One event. Times are Unix milliseconds; texts are storable and bounded.

    A click names its link by `target.link_id`, or, where the edge had no directory to ask, by
    `namespaces` and `code`. A lead or sale names its click by `click.id` and that click's
    link, or its customer by `external_id`, or, without a click, its link like a click does.

    A link that an edge generated and that nobody has recorded yet is named by `code`,
    `program_id` and `partner_code`: enough for any event that names it to make it.
    """

    id: UUID
    kind: Kind
    request: Request
    target: Target = NO_TARGET
    click: Click = NO_CLICK
    customer: Customer = NO_CUSTOMER
    client: Client = NO_CLIENT
    details: Details = NO_DETAILS
    #: The span that appended it, where its request was traced: see `traces`.
    traceparent: str | None = None


#: The parts by the name of their field.
PARTS: Final[Mapping[str, type[msgspec.Struct]]] = {
    "request": Request,
    "target": Target,
    "click": Click,
    "customer": Customer,
    "client": Client,
    "details": Details,
}


class Undecodable(Exception):
    """These bytes are no envelope: a data fault of this one entry."""


class NewerVersion(Exception):
    """An envelope of a later release: leave it to a worker that knows it."""


class _Version(msgspec.Struct):
    """What every release's envelope has."""

    v: int


class _Claim(msgspec.Struct, rename={"request": "r", "target": "l"}):
    """Of an envelope, what makes it one event with others."""

    request: Request
    target: Target = NO_TARGET


_CLAIMS: Final = msgspec.json.Decoder(_Claim)
_ENCODER: Final = msgspec.json.Encoder(uuid_format="hex")
_DECODER: Final = msgspec.json.Decoder(Envelope)
_VERSIONS: Final = msgspec.json.Decoder(_Version)

#: To copy it takes less than to make one.
_DIGEST: Final = blake2b(digest_size=8)

#: What decoding raises: no JSON, not of this shape, no UTF-8, too deep.
_MALFORMED: Final = (msgspec.DecodeError, ValueError, RecursionError)

#: How a dedupe key begins.
_DEDUPE: Final = b'"r":["'

#: How JSON writes a NUL, which no column of text takes. It may be half of something else.
_NUL: Final = b"\\u0000"
#: Without it there is none, and a single byte is looked for much faster.
_ESCAPE: Final = ord("\\")


#: The beginnings of an envelope without and with a trace context.
PLAIN: Final = b'{"v":%d' % PLAIN_VERSION
TRACED: Final = b'{"v":%d' % VERSION


def encode(envelope: Envelope) -> bytes:
    """The envelope's bytes; raises nothing for storable values."""
    raw = _ENCODER.encode(envelope)
    return raw if envelope.traceparent is None else TRACED + raw[len(PLAIN) :]


def claim_of(payload: bytes) -> tuple[Request, Target] | None:
    """What makes an encoded event one with others; None for most, which have no dedupe key."""
    try:
        found = _CLAIMS.decode(payload) if _DEDUPE in payload else None
    except _MALFORMED:
        return None  # of an earlier version
    return (found.request, found.target) if found else None


def decode(raw: bytes) -> Envelope:
    """The envelope of some bytes; raises Undecodable or NewerVersion, nothing else."""
    try:
        envelope = _decoded(raw)
        _check(envelope.details.properties)
    except _MALFORMED as error:
        if is_newer(raw):
            raise NewerVersion from error
        raise Undecodable(str(error)) from error
    if _ESCAPE in raw and _NUL in raw:
        _refuse_nul(envelope)
    return envelope


def is_newer(raw: bytes) -> bool:
    """Whether these bytes are an envelope of a later release."""
    return _version(raw) > VERSION


def digest(raw: bytes) -> int:
    """63 bits of the encoded bytes: breaks ties between attempts under one id."""
    hashing = _DIGEST.copy()
    hashing.update(raw)
    return int.from_bytes(hashing.digest()) >> 1


def _decoded(raw: bytes) -> Envelope:
    try:
        return _DECODER.decode(raw)
    except msgspec.ValidationError:
        if raw.startswith(TRACED):
            return _DECODER.decode(PLAIN + raw[len(TRACED) :])
        if _version(raw) == envelope_v1.VERSION:
            return _DECODER.decode(envelope_v1.upgraded(raw))
        raise


def _version(raw: bytes) -> int:
    """The version that some bytes name; 0 where they are no envelope of any release."""
    try:
        return _VERSIONS.decode(raw).v
    except _MALFORMED:
        return 0


def _check(properties: msgspec.Raw) -> None:
    """Raise ValueError for what the decoder does not check: other values, no UTF-8."""
    if properties is not NO_PROPERTIES and str(properties, "utf-8")[0] != "{":
        raise ValueError("properties: expected an object")


def _refuse_nul(envelope: Envelope) -> None:
    for name in PARTS:
        for field, value in asdict(getattr(envelope, name)).items():
            texts = value if isinstance(value, tuple) else (value,)
            if any(isinstance(text, str) and "\0" in text for text in texts):
                raise Undecodable(f"{field}: expected a text without NUL")
