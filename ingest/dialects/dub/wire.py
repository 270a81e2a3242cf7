"""Dub's request bodies, and its errors."""

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
    Name,
    doc,
    example,
    maybe,
)
from ingest.dialects.currencies import Currency
from ingest.dialects.refusals import answers, retry_headers
from ingest.dialects.spec.events import FirstOf
from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.requests import Reply

_MAX_AMOUNT: Final = 10**12  # minor units; millions of such sales fit a bigint
_EXTERNAL_ID: Final = "customerExternalId"
_EMAIL: Final = r"[^@\x00-\x20]+@[^@\x00-\x20]+\.[^@\x00-\x20]+"
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
_BAD_FORM: Final = "Misconfigured authorization header. Did you forget 'Bearer '?"
_REFUSALS: Final = answers(
    {
        "not_found": (404, "Not found."),
        "method_not_allowed": (405, "Method not allowed."),
        "body_too_large": (413, "The request body is too large."),
        "encoding_unsupported": (415, "The request body must not be compressed."),
        "body_malformed": (400, "Invalid JSON format in request body."),
        "field_missing": (422, "invalid_type: {field}: {field} is required."),
        "field_invalid": (422, "{issue}: {field}: {field} {problem}."),
        "link_unknown": (404, "Link not found for domain: {domain} and key: {code}."),
        "link_inactive": (404, "The link is disabled."),
        "program_unknown": (404, "Program not found."),
        "partner_unknown": (404, "Partner not found."),
        "click_unknown": (404, "Click event not found for clickId: {token}"),
        "customer_unknown": (
            400,
            "No clickId, and no click of the customer: {external_id}",
        ),
        "credential_missing": (401, "Missing Authorization header."),
        "credential_malformed": (400, _BAD_FORM),
        "unauthorised": (401, "Unauthorized: Invalid API key."),
        "forbidden": (403, "The API key may not track conversions."),
        "rate_limited": (429, "Too many requests."),
        "switched_off": (503, "Tracking is unavailable right now."),
        "failed": (500, "An internal server error occurred."),
    }
)
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
_Text = Annotated[str, Field(max_length=100)]
_Url = Annotated[str, Field(pattern=SAYS_SOMETHING, max_length=2048)]
#: As Dub's domains and keys make them; `clicks` takes whatever a browser takes for a URL.
_LinkUrl = Annotated[
    _Url,
    Field(
        json_schema_extra={
            "pattern": r"^https://[a-z0-9.-]{1,100}\.[a-z]{2,20}(/[A-Za-z0-9_.~-]{0,190})?$"
        }
    ),
]
_Email = Annotated[
    _Text,
    _like(_EMAIL, "must be an e-mail"),
    Field(json_schema_extra={"pattern": f"^{_EMAIL}$"}),
]
_Quantity = Annotated[int, Field(ge=1, le=100), WHOLE]
_Amount = Annotated[int, Field(ge=0, le=_MAX_AMOUNT), WHOLE]
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


class ClickBody(Body):
    """A click, as the browser script reports it."""

    model_config = example(
        domain="go.yoursite.com", key="alice", url="https://yoursite.com/?via=alice"
    )

    domain: Name = doc("The domain of the short link.")
    key: Name = doc("The link's code on that domain.")
    url: LenientText = maybe("The page that the visitor is on.")
    referrer: LenientText = maybe(
        "The page that the visitor came from.", "https://blog.example.com/post"
    )


class VisitBody(Body):
    """A visit of a site, as the browser script reports it."""

    model_config = example(domain="go.yoursite.com", url="https://yoursite.com/")

    domain: Name = doc("The domain whose link `_root` is clicked.")
    url: LenientText = maybe("The page that the visitor is on.")
    referrer: LenientText = maybe(
        "The page that the visitor came from.", "https://blog.example.com/post"
    )


class OpenBody(Body):
    """An app that was opened, as its client reports it."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        json_schema_extra={
            "examples": [{"deepLink": "https://go.yoursite.com/alice"}],
            "not": {
                "properties": {
                    "deepLink": {"type": "null"},
                    "dubDomain": {"type": "null"},
                }
            },
        },
    )

    deep_link: _LinkUrl | None = maybe("The link by which the app was opened.")
    dub_domain: Name | None = maybe(
        "The domain of the app's links, if no link opened it.", "go.yoursite.com"
    )


class EventBody(Body):
    """What leads and sales have in common."""

    model_config = ConfigDict(alias_generator=to_camel)

    click_id: str | None = maybe(
        "The id of the click that brought the customer; empty or absent if the "
        "customer is known by an earlier event.",
        "rLnWe1uz9t282v7g",
    )
    customer_name: _Text | None = maybe("The customer's name.", "John Doe")
    customer_email: _Email | None = maybe(
        "The customer's e-mail address.", "john.doe@example.com"
    )
    customer_avatar: str | None = maybe(
        "The URL of the customer's picture.", "https://example.com/avatar.png"
    )
    metadata: Metadata = maybe(
        "Anything else, stored with the event; at most 10,000 characters of JSON.",
        {"plan": "free"},
    )
    customer_external_id: _Id = doc("Your id of the customer.")

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


class LeadBody(EventBody):
    """A lead, as a server reports it."""

    model_config = example(
        clickId="rLnWe1uz9t282v7g",
        eventName="Sign up",
        customerExternalId="cus_oFUYbZYqHFR0knk0MjsMC6b0",
        customerName="John Doe",
        customerEmail="john.doe@example.com",
    )

    event_name: Name = doc("What the customer did. A customer has one lead of a name.")
    mode: Literal["async", "wait", "deferred"] | None = doc(
        "`deferred` makes the customer known and counts nothing until the lead "
        "comes; `async` and `wait` do the same.",
        "async",
        default="async",
    )
    event_quantity: _Quantity | None = doc(
        "How many leads this counts as.", 1, default=1
    )


class SaleBody(EventBody):
    """A sale, as a server reports it."""

    model_config = example(
        customerExternalId="cus_oFUYbZYqHFR0knk0MjsMC6b0",
        amount=4999,
        currency="usd",
        eventName="Invoice paid",
        paymentProcessor="stripe",
        invoiceId="INV_1234567890",
    )

    amount: _Amount = doc("What was paid, in the smallest unit of the currency.")
    currency: Currency | None = doc(
        "The currency, by its code in ISO 4217.", default="usd"
    )
    event_name: Name | None = doc("What was paid for.", default="Purchase")
    payment_processor: _Processor | None = doc(
        "Who processed the payment.", default="custom"
    )
    invoice_id: str | None = maybe("The invoice. Sales with one invoice are one sale.")
    lead_event_name: Name | None = maybe(
        "The name of the lead that a sale with a `clickId` records first.", "Sign up"
    )


class _Error(BaseModel):
    code: str = doc("The vendor's code of the status.", "not_found")
    message: str = doc(
        "What is wrong, in words.", "Click event not found for clickId: abc"
    )
    doc_url: str = doc(
        "The vendor's page about the code.",
        "https://dub.co/docs/api-reference/errors#not-found",
    )


class Problem(BaseModel):
    """The body of a refusal."""

    error: _Error = doc("Why the request is refused.")


def refuse(refusal: Refusal) -> Reply:
    """A refusal in the vendor's envelope."""
    status, words = _REFUSALS[refusal.code]
    field, problem, target = refusal.field, refusal.problem, refusal.target
    if refusal.code == "credential_malformed" and field == "publishable":
        words = "Invalid publishable key: it must start with dub_pk_."
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
    return Reply(status, {"error": error}, retry_headers(refusal, status))
