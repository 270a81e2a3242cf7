"""Events as a dialect reads them, what they are about, and what becomes of them."""

from collections.abc import Mapping
from typing import Literal, Protocol
from uuid import UUID

import msgspec

from ingest.contracts.directory import (
    CustomerRecord,
    LinkRecord,
    ProgramRecord,
    SaleRecord,
    StatsRecord,
)
from ingest.contracts.envelope import Dedupe, Kind, Purpose
from ingest.contracts.storable import Json
from ingest.dialects.spec.requests import NOTHING, Value


class ByCode(Value, frozen=True):
    """A link named by its code.

    Anywhere: under the domain if that is a known one, else by default. Otherwise only among
    the codes of the domain, or of the caller's workspace.
    """

    code: str
    domain: str | None = None
    among: Literal["anywhere", "domain", "workspace"] = "anywhere"


class ByClick(Value, frozen=True):
    """A link named by a click id that was issued for it."""

    token: str


class ByOwnId(Value, frozen=True):
    """A click by the id that its client gave it, `own_click`, within the caller's workspace.

    One that nobody knows may still come: the event waits for it.
    """

    own_id: str


class ByFingerprint(Value, frozen=True):
    """A click named by the fingerprint of its visitor, within the caller's workspace."""

    fingerprint: str


class ByVisitor(Value, frozen=True):
    """A visitor named by the caller's own id of it, within the caller's workspace."""

    visitor_id: str


class ByCustomer(Value, frozen=True):
    """A customer named by its external id, within the caller's workspace."""

    external_id: str


class BySale(Value, frozen=True):
    """A sale of the caller's workspace by its dedupe key, which a refund is of.

    The event is recorded whether the sale is known or not.
    """

    key: Dedupe


class ByProgram(Value, frozen=True):
    """No link: a program by its public number (test events)."""

    number: int


class ByPartner(Value, frozen=True):
    """A partner's link in a program; made where there is none."""

    program_id: UUID
    partner_code: str


class StatsOf(Value, frozen=True):
    """What a partner of the caller's workspace brought."""

    partner_code: str


class FirstOf(Value, frozen=True):
    """The first of some targets that exists; if none does, the event is organic."""

    targets: tuple[
        ByCode | ByClick | ByOwnId | ByVisitor | ByFingerprint | ByCustomer, ...
    ]


Target = (
    ByCode
    | ByClick
    | ByOwnId
    | ByVisitor
    | ByFingerprint
    | ByCustomer
    | BySale
    | ByProgram
    | ByPartner
    | StatsOf
    | FirstOf
)


class Draft(Value, frozen=True, kw_only=True):
    """One event as a dialect read it, before it is resolved, claimed and sealed.

    Texts are raw: sealing makes them storable. `existing_click` is the click id that the
    visitor of a click already carries; else a `fingerprint` may know the visitor. `amount`
    is in minor units of `currency`; of a refund it is negative, None for all that is left.
    """

    kind: Kind
    target: Target
    existing_click: str | None = None
    fingerprint: str | None = None
    #: The caller's own id of a click's visitor, if `existing_click` is none of ours.
    own_visitor: str | None = None
    dedupe: Dedupe | None = None
    name: str | None = None
    quantity: int = 1
    amount: int | None = None
    currency: str | None = None
    session: str | None = None
    external_id: str | None = None
    customer_name: str | None = None
    customer_email: str | None = None
    customer_avatar: str | None = None
    #: An e-mail address that no answer returns: only its keyed hash is kept.
    unreturned_email: str | None = None
    #: None: what the request's own header says.
    user_agent: str | None = None
    referrer: str | None = None
    page_url: str | None = None
    is_test: bool = False
    #: How many milliseconds before the request it happened, which is bounded.
    age: int = 0
    #: Of a click on a page that nobody sees yet.
    purpose: Purpose | None = None
    #: The browser asks not to be recognised.
    is_anonymous: bool = False
    properties: Mapping[str, Json] = NOTHING


class PlainClick(Protocol):
    """What a click says that trackers nearly always send: texts that can be stored as they are.

    None of them is empty.
    """

    @property
    def session(self) -> str | None: ...

    @property
    def user_agent(self) -> str | None:
        """None: what the request's own header says."""
        ...

    @property
    def referrer(self) -> str | None: ...

    @property
    def page_url(self) -> str | None: ...

    @property
    def properties(self) -> msgspec.Struct | None:
        """A struct that is encoded as the draft's properties; None where there are none."""
        ...


class Outcome(Value, frozen=True):
    """What became of a draft, as far as an answer may depend on it.

    `link`, `program` and `customer` are None where there is none and where the directory
    could not be asked: the event is accepted and resolved later, and the dialect answers
    with what it knows.
    """

    draft: Draft
    event_id: UUID
    #: When the edge accepted it, Unix milliseconds.
    at: int = 0
    #: The click id that the client keeps: its existing one, or the new click's.
    click_token: str | None = None
    #: How the visitor of a click is known; None: for the first time.
    matched_by: Literal["click", "fingerprint"] | None = None
    link: LinkRecord | None = None
    program: ProgramRecord | None = None
    #: Who the draft's external id is, where the endpoint asks for it.
    customer: CustomerRecord | None = None
    #: The sale that a refund is of.
    sale: SaleRecord | None = None
    #: Whether a key came with the request.
    has_key: bool = False
    #: Of several targets one is a click that is too old to earn, and none earns.
    is_expired: bool = False
    #: Whether everything that was asked could be answered.
    is_certain: bool = True


class Finding(Value, frozen=True, kw_only=True):
    """What is known of a query's target."""

    link: LinkRecord | None = None
    stats: StatsRecord | None = None
