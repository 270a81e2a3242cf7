"""What a dialect is made of: requests, drafts, outcomes, replies, refusals.

What
every request makes anew is a Value: a frozen dataclass takes ten times as long to make.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter, itemgetter
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeVar
from uuid import UUID

import msgspec
from pydantic import BaseModel

from ingest.contracts.directory import (
    CustomerRecord,
    LinkRecord,
    ProgramRecord,
    StatsRecord,
)
from ingest.contracts.envelope import Dedupe, Kind, Purpose
from ingest.contracts.storable import Json

_By = Literal["address", "key", "workspace"]
_SomeRoute = TypeVar("_SomeRoute", bound="Route")

#: What an address may send a minute without a known key, where the vendor does not say.
_OF_AN_ADDRESS: Final = 6000

#: An empty mapping that stays so.
NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class Value(msgspec.Struct, frozen=True, gc=False):
    """What every request makes anew. It holds nothing that leads back to itself."""


class RawRequest(Value, frozen=True, kw_only=True):
    """A request with the HTTP server taken off.

    Headers are looked up in lower case; how their names are spelt is not to be relied on.
    """

    path: Mapping[str, str] = NOTHING
    query: Mapping[str, str] = NOTHING
    headers: Mapping[str, str] = NOTHING
    body: bytes = b""
    #: The caller's whole address, where it can be known; sealing truncates it.
    ip: str | None = None


#: Why a request is refused. A dialect puts each into its vendor's words.
RefusalCode = Literal[
    "not_found",  # no such route in this dialect
    "method_not_allowed",
    "body_too_large",
    "encoding_unsupported",  # a compressed request body
    "body_malformed",  # not JSON, nested too deeply, or not an object
    "field_missing",  # `field` says which
    "field_invalid",  # `field` says which, `problem` why
    "link_unparsable",  # a link URL that is none
    "link_code_missing",  # a link URL without a code
    "link_unknown",
    "link_incomplete",  # a link without the program or partner that an answer needs
    "link_inactive",
    "program_unknown",
    "partner_unknown",
    "click_unknown",  # not a click id of ours, or of another workspace
    "click_expired",  # older than the program's attribution window
    "customer_unknown",
    "customer_elsewhere",  # a customer of another program
    "customer_advanced",  # already what it was to become; `problem` is its status
    "credential_missing",
    "credential_malformed",  # not of the form that the header wants
    "unauthorised",  # no such key, or one that was revoked
    "forbidden",  # a key without the scope that is needed; `field` says which
    "rate_limited",
    "switched_off",
    "overloaded",  # no durable place for the event: come back after `retry_after`
    "failed",  # a bug of ours; `field` is the path that was called
]


class Refusal(Exception):
    """A no, before it is put into words. `retry_after` is in whole seconds."""

    def __init__(
        self,
        code: RefusalCode,
        *,
        field: str = "",
        problem: str = "",
        retry_after: int | None = None,
    ) -> None:
        """`field` is the vendor's name of what is wrong, `problem` says how."""
        super().__init__(code, field, problem)
        self.code: RefusalCode = code
        self.field = field
        self.problem = problem
        self.retry_after = retry_after
        #: Of a request beyond a limit.
        self.usage: Usage | None = None
        #: What was looked for, where it came to that; `accept` says so.
        self.target: Target | None = None


class Reply(Value, frozen=True):
    """An answer: a JSON body, where a body of None is JSON's `null`."""

    status: int
    body: Json
    headers: Mapping[str, str] = NOTHING

    @classmethod
    def ok(cls, **body: Json) -> "Reply":
        """A 200 with these keys, in their order."""
        return cls(200, body)


class Usage(NamedTuple):
    """How far a caller's limit is used up, after its request was counted or refused."""

    limit: int
    remaining: int
    #: Unix seconds when the first of what is used comes free.
    reset: int
    is_admitted: bool
    #: Whole seconds until the next request may come; 0 where this one was admitted.
    retry_after: int


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


class ByFingerprint(Value, frozen=True):
    """A click named by the fingerprint of its visitor, within the caller's workspace."""

    fingerprint: str


class ByCustomer(Value, frozen=True):
    """A customer named by its external id, within the caller's workspace."""

    external_id: str


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

    targets: tuple[ByCode | ByClick | ByFingerprint | ByCustomer, ...]


Target = (
    ByCode
    | ByClick
    | ByFingerprint
    | ByCustomer
    | ByProgram
    | ByPartner
    | StatsOf
    | FirstOf
)


class Draft(Value, frozen=True, kw_only=True):
    """One event as a dialect read it, before it is resolved, claimed and sealed.

    Texts are raw: sealing makes them storable. `existing_click` is the click id that the
    visitor of a click already carries; else a `fingerprint` may know the visitor. `amount`
    is in minor units of `currency`.
    """

    kind: Kind
    target: Target
    existing_click: str | None = None
    fingerprint: str | None = None
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
    #: Whether a key came with the request.
    has_key: bool = False
    #: Whether everything that was asked could be answered.
    is_certain: bool = True


class Finding(Value, frozen=True, kw_only=True):
    """What is known of a query's target."""

    link: LinkRecord | None = None
    stats: StatsRecord | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """The API key that an endpoint wants.

    In `Authorization` after `Bearer`, in any other header as it is. An optional one is
    checked where it comes.
    """

    header: Literal["authorization", "x-api-key"] = "authorization"
    scope: Literal["read", "write", "track", "forward"] = "track"
    is_optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """So many requests in any 60 seconds of one address, key, or workspace.

    Operators know it by its name; endpoints that share a name share what is left of it.
    `per_minute` of None: none unless an operator sets it. A limit by address that the vendor
    does not document is ours: a generous bound for callers that no known key vouches for.
    """

    name: str
    by: _By
    per_minute: int | None
    is_documented: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What endpoints and queries have in common.

    `body` is the model that validates the request, `reply` the model of what a 2xx says,
    `refusals` why else than for reasons that every route has; all three are what the
    OpenAPI document is made of.
    """

    path: str
    summary: str
    reply: type[BaseModel]
    body: type[BaseModel] | None = None
    #: What each variable of the path means.
    variables: Mapping[str, str] = field(default_factory=dict)
    refusals: Sequence[RefusalCode] = ()
    #: None: no key is needed.
    credential: Credential | None = None
    limits: Sequence[Limit] = ()
    #: Browsers call it from other origins: CORS and preflight are answered.
    from_browsers: bool = False
    method: Literal["GET", "POST"] = "POST"

    @property
    def needs_key(self) -> bool:
        return self.credential is not None and not self.credential.is_optional


def limited(dialect: str, route: _SomeRoute) -> _SomeRoute:
    """The route with a limit by address and one by workspace, where its vendor has none."""
    last = [part for part in route.path.split("/") if not part.startswith("{")][-1]
    wanted: dict[_By, int | None] = {"address": _OF_AN_ADDRESS, "workspace": None}
    known = {limit.by for limit in route.limits}
    ours = [
        Limit(
            name=f"{dialect}.{last}.{by}", by=by, per_minute=most, is_documented=False
        )
        for by, most in wanted.items()
        if by not in known
    ]
    return replace(route, limits=(*route.limits, *ours))


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint(Route):
    """A route that records events.

    `parse` may raise Refusal and gives a draft for every event asked for. `judge` sees a
    draft's outcome before it is recorded: it may raise Refusal, change the draft, or say
    that there is nothing to record. `answer` puts one outcome into words, `repeat` that of
    an event that came before, given the first's answer; `collect` makes one reply of all
    the answers.
    """

    parse: Callable[[RawRequest], Sequence[Draft]]
    answer: Callable[[Outcome], Reply]
    judge: Callable[[Outcome], Draft | None] = attrgetter("draft")
    repeat: Callable[[Outcome, Reply], Reply] = lambda _, first: first
    collect: Callable[[Sequence[Reply]], Reply] = itemgetter(0)
    #: Whether a link that no program or partner stands behind can be answered for.
    needs_partner: bool = False
    #: Whether outcomes are to say who the draft's external id is.
    asks_customer: bool = False
    #: Whether clients are told 16 letters and digits for a click id.
    has_short_clicks: bool = False
    #: Reads the body of a click whose answer follows from its link and click id alone; None
    #: for every other, which `parse` reads. Such a route has no credential, no judge, and
    #: its vendor documents no limits.
    plain_click: Callable[[bytes], tuple[ByCode, PlainClick] | None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Query(Route):
    """A route that records nothing. `ask` may raise Refusal, `answer` too."""

    ask: Callable[[RawRequest], Target]
    answer: Callable[[Finding], Reply]
    method: Literal["GET", "POST"] = "GET"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """A vendor: its routes, and how it says no.

    `prefix` is the path under which unknown routes and methods are refused in its words;
    `problem` is the model of its refusals.
    """

    name: str
    prefix: str
    endpoints: Sequence[Endpoint | Query]
    refuse: Callable[[Refusal], Reply]
    problem: type[BaseModel]
    #: Headers of every answer that a limit was asked for; None: the vendor has none.
    usage_headers: Callable[[Usage], Mapping[str, str]] | None = None

    def __post_init__(self) -> None:
        endpoints = tuple(limited(self.name, route) for route in self.endpoints)
        object.__setattr__(self, "endpoints", endpoints)
