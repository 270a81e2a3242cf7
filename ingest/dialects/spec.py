"""What a dialect is made of: requests, drafts, outcomes, replies, refusals.

Imported by the dialects, and by `accept` and `handlers`, which carry them through.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from operator import itemgetter
from typing import Literal
from uuid import UUID

from ingest.contracts.directory import LinkRecord, ProgramRecord
from ingest.contracts.envelope import Dedupe, Kind
from ingest.contracts.storable import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRequest:
    """A request with the HTTP server taken off. Header names are lower case."""

    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
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
    "click_unknown",  # not a click id of ours, or of another workspace
    "click_expired",  # older than the program's attribution window
    "unauthorised",
    "rate_limited",
    "switched_off",
    "overloaded",  # no durable place for the event: come back after `retry_after`
    "failed",  # a bug of ours
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


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: a JSON body, where a body of None is JSON's `null`."""

    status: int
    body: Json
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ByCode:
    """A link named by its code, under a domain if that domain is known, else by default."""

    code: str
    domain: str | None = None


@dataclass(frozen=True, slots=True)
class ByClick:
    """A link named by a click id that somebody issued for it."""

    token: str


@dataclass(frozen=True, slots=True)
class ByProgram:
    """No link: a program by its public number (test events)."""

    number: int


Target = ByCode | ByClick | ByProgram


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """One event as a dialect read it, before it is resolved, claimed and sealed.

    Texts are raw: sealing makes them storable. `existing_click` is the click id that the
    visitor of a click already carries.
    """

    kind: Kind
    target: Target
    existing_click: str | None = None
    dedupe: Dedupe | None = None
    name: str | None = None
    quantity: int = 1
    external_id: str | None = None
    customer_name: str | None = None
    customer_email: str | None = None
    customer_avatar: str | None = None
    #: None: what the request's own header says.
    user_agent: str | None = None
    referrer: str | None = None
    page_url: str | None = None
    is_test: bool = False
    properties: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a draft, as far as an answer may depend on it.

    `link` and `program` are None where the directory could not be asked: the event is
    accepted and resolved later, and the dialect answers with what it knows.
    """

    draft: Draft
    event_id: UUID
    #: The click id that the client keeps: its existing one, or the new click's.
    click_token: str | None = None
    link: LinkRecord | None = None
    program: ProgramRecord | None = None


class Access(Enum):
    """Who may call an endpoint."""

    PUBLIC = "public"
    #: `Authorization: Bearer <API key>` with the scope `track`.
    BEARER = "bearer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One route. `parse` may raise Refusal and gives a draft for every event asked for.

    `answer` puts one outcome into words; `collect` makes one reply of all the answers.
    """

    method: Literal["GET", "POST"]
    path: str
    access: Access
    parse: Callable[[RawRequest], Sequence[Draft]]
    answer: Callable[[Outcome], Reply]
    collect: Callable[[Sequence[Reply]], Reply] = itemgetter(0)
    #: Browsers call it from other origins: CORS and preflight are answered.
    from_browsers: bool = False
    #: Whether a link that no program or partner stands behind can be answered for.
    needs_partner: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """A vendor: its endpoints, and how it says no.

    `prefix` is the path under which unknown routes and methods are refused in its words.
    """

    name: str
    prefix: str
    endpoints: Sequence[Endpoint]
    refuse: Callable[[Refusal], Reply]
