"""Dub: clicks of its browser script, and leads and sales that servers report.

Source: the vendor's public API reference, and what its public SDKs accept. Those validate
every answer: keys are there even when null, nothing but 200 is a success, and an error's
`code` is the one of its status. Where the vendor is silent, or where it would lose or count
twice:

- A lead of one customer and name is one lead for good, a sale of one invoice one sale.
- A customer's `id` is derived from its external id, so that every answer says the same one,
  also before a worker has recorded the customer; so is the name of one who has neither name
  nor e-mail.
- A customer that came by no click is unknown here, though its events are recorded.
- `wait` and `async` are the same: an edge knows what edges took a moment ago.
"""

import re
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Annotated, Any, Final, Literal, LiteralString
from uuid import UUID, uuid5

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

from ingest.contracts.directory import CustomerRecord, LinkRecord
from ingest.contracts.envelope import Dedupe, Kind
from ingest.contracts.storable import Json
from ingest.dialects.body import SAYS_SOMETHING, Body, LenientText, Metadata, read
from ingest.dialects.spec import (
    ByClick,
    ByCode,
    ByCustomer,
    Credential,
    Dialect,
    Draft,
    Endpoint,
    FirstOf,
    Limit,
    Outcome,
    RawRequest,
    Refusal,
    RefusalCode,
    Reply,
    Target,
    Usage,
)

_RETRY_AFTER: Final = 5  # seconds, where a refusal does not know better
_MAX_AMOUNT: Final = 10**12  # minor units; sums of millions of them fit a bigint
_DOCS: Final = "https://dub.co/docs/api-reference/errors#"

#: Under which customers' ids are derived (RFC 9562, version 5).
_CUSTOMERS: Final = UUID("6d3c2fb5-0c1b-4a55-9a3e-8b5f6f1d7a21")

_BAD: Final = "bad_request"
_MISSING: Final = "not_found"
_WRONG: Final = "unprocessable_entity"
_OURS: Final = "internal_server_error"
_NO_CLICK: Final = (404, _MISSING, "Click event not found for clickId: {token}")
_NO_LINK: Final = (
    404,
    _MISSING,
    "Link not found for domain: {domain} and key: {code}.",
)
_NOBODY: Final = (
    400,
    _BAD,
    "No clickId is given, and no click is known of the customer: {external_id}",
)
_PAUSED: Final = (503, _OURS, "Tracking is unavailable right now.")

_REFUSALS: Final[Mapping[RefusalCode, tuple[int, str, str]]] = {
    "not_found": (404, _MISSING, "Not found."),
    "method_not_allowed": (405, _BAD, "Method not allowed."),
    "body_too_large": (413, _BAD, "The request body is too large."),
    "encoding_unsupported": (415, _BAD, "The request body must not be compressed."),
    "body_malformed": (400, _BAD, "Invalid JSON format in request body."),
    "field_missing": (422, _WRONG, "invalid_type: {field}: {field} is required."),
    "field_invalid": (422, _WRONG, "{issue}: {field}: {field} {problem}."),
    "link_unparsable": _NO_LINK,
    "link_code_missing": _NO_LINK,
    "link_unknown": _NO_LINK,
    "link_incomplete": _NO_LINK,
    "link_inactive": (404, _MISSING, "The link is disabled."),
    "program_unknown": (404, _MISSING, "Program not found."),
    "partner_unknown": (404, _MISSING, "Partner not found."),
    "click_unknown": _NO_CLICK,
    "click_expired": _NO_CLICK,
    "customer_unknown": _NOBODY,
    "customer_elsewhere": _NOBODY,
    "customer_advanced": _NOBODY,
    "credential_missing": (401, "unauthorized", "Missing Authorization header."),
    "credential_malformed": (
        400,
        _BAD,
        "Misconfigured authorization header. Did you forget to add 'Bearer '?",
    ),
    "unauthorised": (401, "unauthorized", "Unauthorized: Invalid API key."),
    "forbidden": (403, "forbidden", "The API key may not track conversions."),
    "rate_limited": (429, "rate_limit_exceeded", "Too many requests."),
    "switched_off": _PAUSED,
    "overloaded": _PAUSED,
    "failed": (500, _OURS, "An internal server error occurred."),
}

#: The vendor's kinds of validation problems, by how ours are worded.
_ISSUES: Final = (
    (re.compile("must be (a string|an integer|an object)"), "invalid_type"),
    (re.compile("must be (at most|less)"), "too_big"),
    (re.compile("must be (at least|greater)"), "too_small"),
    (re.compile("must be '"), "invalid_value"),
    (re.compile("must be "), "invalid_format"),
)


def _like(pattern: str, problem: LiteralString) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise PydanticCustomError("form", problem)
        return value

    return AfterValidator(check)


_Name = Annotated[str, Field(pattern=SAYS_SOMETHING, max_length=255)]
_Id = Annotated[
    str, StringConstraints(strip_whitespace=True, pattern=r"\S", max_length=100)
]
_Text = Annotated[str, Field(max_length=100)]
_Email = Annotated[
    _Text,
    Field(json_schema_extra={"format": "email"}),
    _like(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+", "must be an e-mail address"),
]
_Currency = Annotated[
    str,
    Field(json_schema_extra={"pattern": "^[A-Za-z]{3}$"}),
    _like("[A-Za-z]{3}", "must be a code of three letters (ISO 4217)"),
]
_Processor = Literal[
    "stripe",
    "shopify",
    "polar",
    "paddle",
    "apple",
    "revenuecat",
    "lemonsqueezy",
    "dub",
    "custom",
]


class _Click(Body):
    domain: _Name
    key: _Name
    url: LenientText = None
    referrer: LenientText = None


class _Event(Body):
    click_id: str | None = Field(None, alias="clickId")
    name: _Text | None = Field(None, alias="customerName")
    email: _Email | None = Field(None, alias="customerEmail")
    avatar: str | None = Field(None, alias="customerAvatar")
    metadata: Metadata = None

    @model_validator(mode="before")
    @classmethod
    def _by_older_names(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Older SDKs call the external id by other names, and send empty ones too."""
        names = ("customerExternalId", "externalId", "customerId")
        found = next((given[name] for name in names if given.get(name)), None)
        return {**given, names[0]: found}

    @property
    def token(self) -> str:
        return (self.click_id or "").strip()


class _Lead(_Event):
    event_name: _Name = Field(alias="eventName")
    mode: Literal["async", "wait", "deferred"] | None = "async"
    quantity: Annotated[int, Field(ge=1, le=100)] | None = Field(
        1, alias="eventQuantity"
    )
    external_id: _Id = Field(alias="customerExternalId")


class _Sale(_Event):
    amount: Annotated[int, Field(ge=0, le=_MAX_AMOUNT)]
    currency: _Currency | None = "usd"
    event_name: _Name | None = Field("Purchase", alias="eventName")
    processor: _Processor | None = Field("custom", alias="paymentProcessor")
    invoice_id: str | None = Field(None, alias="invoiceId")
    lead_name: _Name | None = Field(None, alias="leadEventName")
    external_id: _Id = Field(alias="customerExternalId")


class _Partner(BaseModel):
    id: str
    name: str
    image: None


class _Clicked(BaseModel):
    click_id: str = Field(alias="clickId")
    partner: _Partner | None = None
    discount: None = None


class _ClickId(BaseModel):
    id: str


class _Link(BaseModel):
    id: str
    domain: str
    key: str
    short_link: str = Field(alias="shortLink")
    url: str
    partner_id: str | None = Field(alias="partnerId")
    program_id: str | None = Field(alias="programId")
    tenant_id: None = Field(alias="tenantId")
    external_id: None = Field(alias="externalId")


class _Customer(BaseModel):
    name: str
    email: str | None
    avatar: str | None
    external_id: str = Field(alias="externalId")


class _Led(BaseModel):
    click: _ClickId
    link: _Link | None
    customer: _Customer


class _Buyer(_Customer):
    id: str


class _Sum(BaseModel):
    amount: int
    currency: str
    processor: str = Field(alias="paymentProcessor")
    invoice_id: str | None = Field(alias="invoiceId")
    metadata: dict[str, Any] | None


class _Sold(BaseModel):
    event_name: str = Field(alias="eventName")
    customer: _Buyer | None
    sale: _Sum | None


class _Error(BaseModel):
    code: str
    message: str
    doc_url: str


class _Problem(BaseModel):
    error: _Error


def _parse_click(request: RawRequest) -> Sequence[Draft]:
    click = read(_Click, request.body)
    domain = click.domain.strip().lower().removeprefix("www.")
    return [
        Draft(
            kind=Kind.CLICK,
            target=ByCode(click.key, domain, among="domain"),
            referrer=click.referrer,
            page_url=click.url,
        )
    ]


def _answer_click(outcome: Outcome) -> Reply:
    link = outcome.link
    body: dict[str, Json] = {"clickId": outcome.click_token}
    if link and link.partner_uuid:
        name = link.partner_name or link.partner_code
        partner_id = link.partner_public_id or link.partner_code
        body["partner"] = {"id": partner_id, "name": name, "image": None}
        body["discount"] = None
    return Reply(200, body)


def _parse_lead(request: RawRequest) -> Sequence[Draft]:
    lead = read(_Lead, request.body)
    by_click, by_customer = ByClick(lead.token), ByCustomer(lead.external_id)
    draft = _draft(lead, lead.external_id, lead.event_name, Kind.LEAD)
    draft = replace(
        draft,
        target=by_click if lead.token else by_customer,
        quantity=lead.quantity or 1,
        properties=lead.metadata or {},
    )
    if lead.mode != "deferred":
        return [draft]
    # Binds the customer to the click; the lead is still to come, under a key of its own.
    dedupe = Dedupe.of("deferred", lead.external_id, lead.event_name, lead.token)
    return [replace(draft, kind=Kind.DEFERRED, dedupe=dedupe)]
