"""Dub's words: the bodies it is sent, the answers its SDKs validate, its errors."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, LiteralString

from msgspec.structs import asdict
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from ingest.contracts.storable import Json
from ingest.dialects.body import (
    SAYS_SOMETHING,
    WHOLE,
    Body,
    LenientText,
    Metadata,
    example,
)
from ingest.dialects.spec import FirstOf, Refusal, RefusalCode, Reply

_RETRY_AFTER: Final = 5  # seconds, where a refusal does not know better
_MAX_AMOUNT: Final = 10**12  # minor units; millions of such sales fit a bigint
_EXTERNAL_ID: Final = "customerExternalId"
_EMAIL: Final = r"[^@\x00-\x20]+@[^@\x00-\x20]+\.[^@\x00-\x20]+"
_CURRENCY: Final = "[A-Za-z]{3}"
_DOCS: Final = "https://dub.co/docs/api-reference/errors#"
_CODES: Final[Mapping[int, str]] = {
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    422: "unprocessable_entity",
    429: "rate_limit_exceeded",
    500: "internal_server_error",
    503: "internal_server_error",
}
_NO_CLICK: Final = (404, "Click event not found for clickId: {token}")
_NO_LINK: Final = (404, "Link not found for domain: {domain} and key: {code}.")
_NOBODY: Final = (400, "No clickId, and no click of the customer: {external_id}")
_BAD_FORM: Final = "Misconfigured authorization header. Did you forget 'Bearer '?"
_PAUSED: Final = (503, "Tracking is unavailable right now.")
_REFUSALS: Final[Mapping[RefusalCode, tuple[int, str]]] = {
    "not_found": (404, "Not found."),
    "method_not_allowed": (405, "Method not allowed."),
    "body_too_large": (413, "The request body is too large."),
    "encoding_unsupported": (415, "The request body must not be compressed."),
    "body_malformed": (400, "Invalid JSON format in request body."),
    "field_missing": (422, "invalid_type: {field}: {field} is required."),
    "field_invalid": (422, "{issue}: {field}: {field} {problem}."),
    "link_unparsable": _NO_LINK,
    "link_code_missing": _NO_LINK,
    "link_unknown": _NO_LINK,
    "link_incomplete": _NO_LINK,
    "link_inactive": (404, "The link is disabled."),
    "program_unknown": (404, "Program not found."),
    "partner_unknown": (404, "Partner not found."),
    "click_unknown": _NO_CLICK,
    "click_expired": _NO_CLICK,
    "customer_unknown": _NOBODY,
    "customer_elsewhere": _NOBODY,
    "customer_advanced": _NOBODY,
    "credential_missing": (401, "Missing Authorization header."),
    "credential_malformed": (400, _BAD_FORM),
    "unauthorised": (401, "Unauthorized: Invalid API key."),
    "forbidden": (403, "The API key may not track conversions."),
    "rate_limited": (429, "Too many requests."),
    "switched_off": _PAUSED,
    "overloaded": _PAUSED,
    "failed": (500, "An internal server error occurred."),
}
#: The vendor's kinds of invalid values, by how ours are worded.
_ISSUES: Final = {
    re.compile("must be (a string|an integer|an object)"): "invalid_type",
    re.compile("must be (at most|less than)"): "too_big",
    re.compile("must be greater than"): "too_small",
    re.compile("must be '"): "invalid_value",
    re.compile(""): "invalid_format",
}


def _like(pattern: str, problem: LiteralString) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise PydanticCustomError("form", problem)
        return value

    return AfterValidator(check)


_Id = Annotated[
    str,
    StringConstraints(strip_whitespace=True, pattern=SAYS_SOMETHING, max_length=100),
]
_Name = Annotated[str, Field(pattern=SAYS_SOMETHING, max_length=255)]
_Text = Annotated[str, Field(max_length=100)]
_Email = Annotated[
    _Text,
    _like(_EMAIL, "must be an e-mail"),
    Field(json_schema_extra={"pattern": f"^{_EMAIL}$"}),
]
_Quantity = Annotated[int, Field(ge=1, le=100), WHOLE]
_Amount = Annotated[int, Field(ge=0, le=_MAX_AMOUNT), WHOLE]
_Currency = Annotated[
    str,
    _like(_CURRENCY, "must have three letters (ISO 4217)"),
    Field(json_schema_extra={"pattern": f"^{_CURRENCY}$"}),
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


class Click(Body):
    """A click, as the browser script says it."""

    model_config = example(
        domain="go.yoursite.com", key="alice", url="https://yoursite.com/?via=alice"
    )

    domain: _Name
    key: _Name
    url: LenientText = None
    referrer: LenientText = None


class Event(Body):
    """What leads and sales have in common."""

    model_config = ConfigDict(alias_generator=to_camel)

    click_id: str | None = None
    customer_name: _Text | None = None
    customer_email: _Email | None = None
    customer_avatar: str | None = None
    metadata: Metadata = None
    customer_external_id: _Id

    @model_validator(mode="before")
    @classmethod
    def _by_older_names(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Older SDKs have other names for the external id, and send empty ones too."""
        names = (_EXTERNAL_ID, "externalId", "customerId")
        found = next((given[name] for name in names if given.get(name)), None)
        return {**given, _EXTERNAL_ID: found}

    @property
    def token(self) -> str:
        """The click id, empty where there is none."""
        return (self.click_id or "").strip()


class Lead(Event):
    """A lead, as a server says it."""

    model_config = example(
        clickId="rLnWe1uz9t282v7g",
        eventName="Sign up",
        customerExternalId="cus_oFUYbZYqHFR0knk0MjsMC6b0",
        customerName="John Doe",
        customerEmail="john.doe@example.com",
    )

    event_name: _Name
    mode: Literal["async", "wait", "deferred"] | None = "async"
    event_quantity: _Quantity | None = 1


class Sale(Event):
    """A sale, as a server says it."""

    model_config = example(
        customerExternalId="cus_oFUYbZYqHFR0knk0MjsMC6b0",
        amount=4999,
        currency="usd",
        eventName="Invoice paid",
        paymentProcessor="stripe",
        invoiceId="INV_1234567890",
    )

    amount: _Amount
    currency: _Currency | None = "usd"
    event_name: _Name | None = "Purchase"
    payment_processor: _Processor | None = "custom"
    invoice_id: str | None = None
    lead_event_name: _Name | None = None


class Said(BaseModel):
    """Something that an answer says."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Partner(Said):
    """Whose link was clicked."""

    id: str
    name: str
    image: None


class Clicked(Said):
    """What a click is answered: partner and discount for partners' links only."""

    click_id: str
    partner: Partner | None = None
    discount: None = None


class ClickId(Said):
    """A click, by the id that clients know."""

    id: str


class Link(Said):
    """The link of a lead."""

    id: str
    domain: str
    key: str
    short_link: str
    url: str
    partner_id: str | None
    program_id: str | None
    tenant_id: None = None
    external_id: None = None


class Customer(Said):
    """Whose lead it is."""

    name: str
    email: str | None
    avatar: str | None
    external_id: str


class Led(Said):
    """What a lead is answered."""

    click: ClickId
    link: Link | None
    customer: Customer


class Buyer(Said):
    """Whose sale it is."""

    id: str
    name: str
    email: str | None
    avatar: str | None
    external_id: str


class Sum(Said):
    """What was paid."""

    amount: int
    currency: str
    payment_processor: str
    invoice_id: str | None
    metadata: dict[str, Any] | None


class Sold(Said):
    """What a sale is answered."""

    event_name: str
    customer: Buyer | None = None
    sale: Sum | None = None


class _Error(BaseModel):
    code: str
    message: str
    doc_url: str


class Problem(BaseModel):
    """What a refusal says."""

    error: _Error


def refuse(refusal: Refusal) -> Reply:
    """A refusal in the vendor's envelope."""
    status, words = _REFUSALS[refusal.code]
    field, problem, target = refusal.field, refusal.problem, refusal.target
    if refusal.code == "field_missing" and field == _EXTERNAL_ID:
        status, words = 400, "{field} is required"
    if isinstance(target, FirstOf):
        target = target.targets[0]
    facts = dict.fromkeys(("token", "domain", "code", "external_id"), "")
    facts |= asdict(target) if target else {}
    issue = next(name for form, name in _ISSUES.items() if form.match(problem))
    message = words.format(field=field, problem=problem, issue=issue, **facts)
    code = _CODES.get(status, "bad_request")
    error: Json = {
        "code": code,
        "message": message,
        "doc_url": _DOCS + code.replace("_", "-"),
    }
    wait = _RETRY_AFTER if refusal.retry_after is None else refusal.retry_after
    headers = {"Retry-After": str(max(1, wait))} if status in {429, 503} else {}
    return Reply(status, {"error": error}, headers)
