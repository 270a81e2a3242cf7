"""The envelope: one event as the edge sealed it.

Sealed once and never changed: enrichment is a new value beside it. `encoding` says how it is
written.
"""

from collections.abc import Mapping
from enum import StrEnum
from hashlib import blake2b
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args
from uuid import UUID

import msgspec

#: Of an encoded envelope without a trace context.
PLAIN_VERSION: Final = 2

#: Scopes of leads' dedupe keys: those that an API key vouches for, and those that none does.
LEAD_SCOPE: Final = "lead"
KEYLESS_LEAD_SCOPE: Final = "keyless_lead"
#: The scope of sales' dedupe keys, by which refunds name them.
SALE_SCOPE: Final = "sale"

_FOR_GOOD: Final = frozenset(
    {LEAD_SCOPE, KEYLESS_LEAD_SCOPE, SALE_SCOPE, "refund", "convert", "link"}
)


#: The scope of the ids that clients give their clicks, and what an envelope names one by.
OWN_CLICK_SCOPE: Final = "tracker"
_OWN_CLICK: Final = f"{OWN_CLICK_SCOPE}:"


class Kind(StrEnum):
    """What happened. `DEFERRED` leads and generated `LINK`s are kept and count nothing."""

    CLICK = "click"
    LEAD = "lead"
    SALE = "sale"
    DEFERRED = "deferred"
    LINK = "link"
    REFUND = "refund"


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


def own_click(own_id: str) -> Dedupe:
    """The dedupe key of a click to which its client gave an id."""
    return Dedupe.of(OWN_CLICK_SCOPE, own_id)


def own_click_name(own_id: str) -> str:
    """What `Click.foreign_id` of a lead says of such a click."""
    return f"{_OWN_CLICK}{own_click(own_id).key.hex()}"


def own_click_key(foreign_id: str | None) -> bytes | None:
    """The key in such a `Click.foreign_id`; None if it names another vendor's click."""
    if foreign_id is None or not foreign_id.startswith(_OWN_CLICK):
        return None
    try:
        return bytes.fromhex(foreign_id.removeprefix(_OWN_CLICK))
    except ValueError:
        return None


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


#: For what a page is loaded that nobody is shown.
Purpose = Literal["prerender", "prefetch", "crawler"]
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
        "sale_key": "s",
        "properties": "p",
    },
):
    """What happened, in the sender's words, and what it is worth."""

    name: str | None = None
    quantity: _Count = 1
    #: What a sale is worth, in minor units of `currency` (ISO 4217, upper case). Of a refund,
    #: what is asked back, negative; None: all that is left of the sale.
    amount: _Long | None = None
    currency: str | None = None
    #: Of a refund: the key of its sale in the scope `SALE_SCOPE`.
    sale_key: bytes | None = None
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
