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
from dataclasses import asdict
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

from ingest.contracts.directory import LinkRecord
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
    external_id: _Id = Field(alias=_EXTERNAL_ID)

    @model_validator(mode="before")
    @classmethod
    def _by_older_names(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Older SDKs have other names for the external id, and send empty ones too."""
        names = (_EXTERNAL_ID, "externalId", "customerId")
        found = next((given[name] for name in names if given.get(name)), None)
        return {**given, _EXTERNAL_ID: found}

    @property
    def token(self) -> str:
        return (self.click_id or "").strip()

    def draft(self, **facts: Any) -> Draft:
        return Draft(
            external_id=self.external_id,
            customer_name=self.name or None,
            customer_email=self.email,
            customer_avatar=self.avatar or None,
            **facts,
        )

    def lead(self, name: str, **facts: Any) -> Draft:
        key = "-".join(name.lower().split())
        dedupe = Dedupe.of("lead", self.external_id, key)
        return self.draft(**{"kind": Kind.LEAD, "name": name, "dedupe": dedupe} | facts)


class _Lead(_Event):
    event_name: _Name = Field(alias="eventName")
    mode: Literal["async", "wait", "deferred"] | None = "async"
    quantity: _Quantity | None = Field(1, alias="eventQuantity")


class _Sale(_Event):
    amount: Annotated[int, Field(ge=0, le=_MAX_AMOUNT)]
    currency: _Currency | None = "usd"
    event_name: _Name | None = Field("Purchase", alias="eventName")
    processor: _Processor | None = Field("custom", alias="paymentProcessor")
    invoice_id: str | None = Field(None, alias="invoiceId")
    lead_name: _Name | None = Field(None, alias="leadEventName")


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
    target = ByCode(click.key, domain, among="domain")
    about = {"referrer": click.referrer, "page_url": click.url}
    return [Draft(kind=Kind.CLICK, target=target, **about)]


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
    facts: dict[str, Any] = {
        "target": ByClick(lead.token) if lead.token else ByCustomer(lead.external_id),
        "quantity": lead.quantity or 1,
        "properties": lead.metadata or {},
    }
    if lead.mode == "deferred":
        # A key of its own: the lead itself is still to come.
        parts = (lead.external_id, lead.event_name, lead.token)
        facts["dedupe"] = Dedupe.of("deferred", *parts)
        facts["kind"] = Kind.DEFERRED
    return [lead.lead(lead.event_name, **facts)]


def _judge_lead(outcome: Outcome) -> Draft:
    draft, link = outcome.draft, outcome.link
    if link and not link.is_active:
        raise Refusal("link_inactive")
    is_named = isinstance(draft.target, ByClick) or _came_by_click(outcome)
    if outcome.is_certain and not is_named:
        raise Refusal("customer_unknown")
    return draft


def _answer_lead(outcome: Outcome) -> Reply:
    return _led(outcome, outcome.link)


def _repeat_lead(outcome: Outcome, _: Reply) -> Reply:
    is_deferred = outcome.draft.kind is Kind.DEFERRED
    return _led(outcome, outcome.link if is_deferred else None)


def _led(outcome: Outcome, link: LinkRecord | None) -> Reply:
    target = outcome.draft.target
    token = target.token if isinstance(target, ByClick) else outcome.click_token
    body: dict[str, Json] = {
        "click": {"id": token or ""},
        "link": _link_of(link) if link else None,
        "customer": _customer_of(outcome),
    }
    return Reply(200, body)


def _link_of(link: LinkRecord) -> Json:
    number, domain = link.program_number, link.domain
    return {
        "id": link.public_id,
        "domain": domain,
        "key": link.code,
        "shortLink": f"https://{domain}/{link.code}" if domain else link.url,
        "url": link.url,
        "partnerId": link.partner_public_id,
        "programId": None if number is None else f"prog_{number:03d}",
        "tenantId": None,
        "externalId": None,
    }


def _came_by_click(outcome: Outcome) -> bool:
    return outcome.customer is not None and outcome.customer.click_uuid is not None


def _customer_of(outcome: Outcome) -> dict[str, Json]:
    draft = outcome.draft
    external_id = draft.external_id or ""
    known = outcome.customer or CustomerRecord(external_id=external_id)
    email = draft.customer_email or known.email
    nobody = f"Customer {_derived(external_id)[:6].upper()}"
    return {
        "name": draft.customer_name or known.name or email or nobody,
        "email": email,
        "avatar": draft.customer_avatar or known.avatar,
        "externalId": external_id,
    }


def _derived(external_id: str) -> str:
    return uuid5(_CUSTOMERS, external_id).hex


def _parse_sale(request: RawRequest) -> Sequence[Draft]:
    sale = read(_Sale, request.body)
    by_click, by_customer = ByClick(sale.token), ByCustomer(sale.external_id)
    told = {
        "paymentProcessor": sale.processor or "custom",
        "invoiceId": sale.invoice_id or None,
        "metadata": sale.metadata,
    }
    sold = sale.draft(
        kind=Kind.SALE,
        target=FirstOf((by_click, by_customer) if sale.token else (by_customer,)),
        dedupe=Dedupe.of("sale", sale.invoice_id) if sale.invoice_id else None,
        name=sale.event_name or "Purchase",
        quantity=1 if sale.amount else 0,
        amount=sale.amount,
        currency=(sale.currency or "usd").upper(),
        properties={name: value for name, value in told.items() if value is not None},
    )
    if not sale.token or not sale.amount:
        return [sold]
    return [sale.lead(sale.lead_name or _DIRECT, target=by_click), sold]


def _judge_sale(outcome: Outcome) -> Draft | None:
    draft, customer = outcome.draft, outcome.customer
    if draft.kind is Kind.LEAD:
        # One that this same lead made known may have been marked and not recorded.
        is_ours = customer is not None and customer.by_event == draft.name
        return draft if is_ours or not _came_by_click(outcome) else None
    names_click = isinstance(draft.target, FirstOf) and len(draft.target.targets) > 1
    if names_click and outcome.is_certain and not outcome.click_token:
        raise Refusal("click_unknown")
    return draft


def _answer_sale(outcome: Outcome) -> Reply:
    draft, told = outcome.draft, outcome.draft.properties
    body: dict[str, Json] = {"eventName": draft.name, "customer": None, "sale": None}
    if draft.amount and (outcome.click_token or _came_by_click(outcome)):
        derived = f"cus_{_derived(draft.external_id or '')}"
        body["customer"] = {"id": derived, **_customer_of(outcome)}
        body["sale"] = {
            "amount": draft.amount,
            "currency": (draft.currency or "").lower(),
            "paymentProcessor": told.get("paymentProcessor"),
            "invoiceId": told.get("invoiceId"),
            "metadata": told.get("metadata"),
        }
    return Reply(200, body)


def _collect_sale(replies: Sequence[Reply]) -> Reply:
    """The sale's reply, which comes last, unless the lead before it found no place."""
    lost = (reply for reply in replies if reply.status >= _OURS_TO_FIX)
    return next(lost, replies[-1])


def _refuse(refusal: Refusal) -> Reply:
    status, code, words = _REFUSALS[refusal.code]
    if refusal.code == "field_missing" and refusal.field == _EXTERNAL_ID:
        status, code, words = 400, _BAD, "{field} is required"
    target = refusal.target
    if isinstance(target, FirstOf):
        target = target.targets[0]
    issue = next((kind for form, kind in _ISSUES if form.match(refusal.problem)), "custom")
    named = asdict(target) if target else {}
    facts = {"field": refusal.field, "problem": refusal.problem, "issue": issue}
    message = words.format_map(_NAMELESS | named | facts)
    wait = _RETRY_AFTER if refusal.retry_after is None else refusal.retry_after
    headers = {"Retry-After": str(max(1, wait))} if status in {429, 503} else {}
    doc_url = _DOCS + code.replace("_", "-")
    error: Json = {"code": code, "message": message, "doc_url": doc_url}
    return Reply(status, {"error": error}, headers)


def _usage(usage: Usage) -> Mapping[str, str]:
    return {
        "X-RateLimit-Limit": str(usage.limit),
        "X-RateLimit-Remaining": str(usage.remaining),
        "X-RateLimit-Reset": str(usage.reset),
    }


_KEYED: Final[Mapping[str, Any]] = {
    "method": "POST",
    "credential": Credential(scope="track"),
    "limits": (Limit(name="dub.key", by="key", per_minute=600),),
    "asks_customer": True,
    "has_short_clicks": True,
}

DUB: Final = Dialect(
    name="dub",
    prefix="/track",
    endpoints=(
        Endpoint(
            method="POST",
            path="/track/click",
            summary="Record that a visitor came by a link",
            body=_Click,
            reply=_Clicked,
            refusals=("link_unknown", "link_inactive"),
            parse=_parse_click,
            answer=_answer_click,
            from_browsers=True,
            has_short_clicks=True,
        ),
        Endpoint(
            path="/track/lead",
            summary="Record that a visitor whose click is known signed up",
            body=_Lead,
            reply=_Led,
            refusals=("click_unknown", "link_inactive", "customer_unknown"),
            parse=_parse_lead,
            judge=_judge_lead,
            answer=_answer_lead,
            repeat=_repeat_lead,
            **_KEYED,
        ),
        Endpoint(
            path="/track/sale",
            summary="Record that a customer paid",
            body=_Sale,
            reply=_Sold,
            refusals=("click_unknown",),
            parse=_parse_sale,
            judge=_judge_sale,
            answer=_answer_sale,
            collect=_collect_sale,
            **_KEYED,
        ),
    ),
    refuse=_refuse,
    problem=_Problem,
    usage_headers=_usage,
)
