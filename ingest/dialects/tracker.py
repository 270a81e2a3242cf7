"""Reftide's own: clicks, leads and sales of `t.js`, the script for web pages.

Bodies are JSON whatever their content type says, so browsers ask nothing before they send one
(CORS). A client makes up an `id` for each click. It is the click's idempotency key, and names
the click in a lead until the answer with the click id is there: a lead sent at the same
moment has its click, and one that overtakes it waits for it.

Pages may call the script in Dub's or Affitor's words, which it sends on: `customerExternalId`
and `customer_key` are `customer_id`, `eventName` is `event_name`, and so on.

An event is sent again only after 429, 503 or no answer, after `Retry-After` seconds. Every
other refusal is final.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Final, TypeVar

from pydantic import AfterValidator, BaseModel, Field, WithJsonSchema

from ingest.contracts.envelope import LEAD_SCOPE, SALE_SCOPE, Dedupe, Kind, own_click
from ingest.contracts.storable import Json
from ingest.dialects import weburl
from ingest.dialects.body import (
    WHOLE,
    Body,
    LenientObject,
    LenientText,
    Name,
    OrNothing,
    doc,
    example,
    json_object,
    lenient_integer,
    maybe,
    read,
    says_something,
    validated,
)
from ingest.dialects.currencies import Currency
from ingest.dialects.refusals import answers, retry_headers
from ingest.dialects.spec.events import (
    ByClick,
    ByCode,
    ByOwnId,
    Draft,
    Outcome,
)
from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.requests import RawRequest, Reply
from ingest.dialects.spec.routes import Credential, Dialect, Endpoint

_COOKIE_WINDOW: Final = 60  # days, where the link is not known yet
#: How long a client may keep an event that it could not send.
_OLDEST: Final = 7 * 24 * 3600 * 1000

_REFUSALS: Final = answers(
    {
        "not_found": (404, "There is no such route"),
        "method_not_allowed": (405, "The route takes POST"),
        "body_too_large": (413, "The body is larger than 64 KiB"),
        "encoding_unsupported": (415, "The body must not be compressed"),
        "body_malformed": (400, "The body is no JSON object"),
        "field_missing": (400, "{field} is missing"),
        "field_invalid": (400, "{field} {problem}"),
        "link_unknown": (404, "No link has this code"),
        "link_inactive": (404, "The link is switched off"),
        "program_unknown": (404, "No program has this number"),
        "click_unknown": (
            404,
            "No click has this id; an id of the client's own needs a key beside it",
        ),
        "click_expired": (410, "The click is too old to earn"),
        "credential_missing": (401, "A sale needs a key"),
        "unauthorised": (401, "The key does not exist or is revoked"),
        "forbidden": (403, "The key lacks the scope {field}"),
        "origin_unknown": (403, "The key may not be used from {problem}"),
        "rate_limited": (429, "Too many requests"),
        "switched_off": (503, "Tracking is switched off"),
        "overloaded": (503, "Nothing can be stored now"),
        "failed": (500, "The edge has a bug"),
    }
)

_OWN_ID: Final = re.compile(r"[A-Za-z0-9_-]{16,36}")


def _own_id(value: str) -> str:
    if not _OWN_ID.fullmatch(value):
        raise ValueError("must be 16 to 36 letters, digits, hyphens or underscores")
    return value


_OwnId = Annotated[
    str,
    AfterValidator(_own_id),
    Field(json_schema_extra={"pattern": f"^{_OWN_ID.pattern}$"}),
]


#: What other vendors' scripts call the same. Our own words go first.
_ALSO: Final = {
    "clickId": "click_id",
    "customerExternalId": "customer_id",
    "customer_key": "customer_id",
    "customerName": "name",
    "customerEmail": "email",
    "customerAvatar": "avatar",
    "eventName": "event_name",
    "invoiceId": "invoice_id",
    "metadata": "properties",
    "additional_data": "properties",
}


class _Event(Body):
    age: Annotated[int | None, WHOLE, OrNothing()] = maybe(
        "How long ago it happened, in milliseconds: of an event that could not be sent at "
        "once. At most a week counts.",
        0,
    )
    program: Annotated[Any, WithJsonSchema({})] = maybe(
        "The number of the program that the link has to be of; what is none is ignored.",
        1,
    )
    key: LenientText = maybe(
        "A publishable key, unless an `Authorization` header has one.", "rt_pk_example"
    )
    properties: LenientObject = maybe(
        "Anything else about the event; it is stored with it.", {"plan": "pro"}
    )

    @property
    def milliseconds_old(self) -> int:
        return min(max(self.age or 0, 0), _OLDEST)

    @property
    def said(self) -> dict[str, Json]:
        """What is stored as properties."""
        number = lenient_integer({"program": self.program}, "program")
        return {**(self.properties or {}), **({"program": number} if number else {})}


class _ClickBody(_Event):
    """A click, as the script reports it."""

    model_config = example(
        id="rt_2871660403117829", code="SUMMER", url="https://shop.example/?via=SUMMER"
    )

    id: _OwnId = doc("The client's own id of the click, which nobody can guess.")
    code: Name = doc("The link's code, as the page's URL has it.")
    url: LenientText = maybe("The page that the visitor came to.")
    referrer: LenientText = maybe(
        "The page that the visitor came from.", "https://blog.example/post"
    )
    domain: LenientText = maybe(
        "The domain that the code is of; the page's by default.", "go.shop.example"
    )
    existing_click_id: LenientText = maybe(
        "The click id that the visitor already has. If it is valid, the answer repeats it.",
        "clk_AQGZ0mX7cAB-example",
    )


class _LeadBody(_Event):
    """A lead, as the script reports it."""

    model_config = example(
        "click_id",
        "id",
        click_id="clk_AQGZ0mX7cAB-example",
        customer_id="user_123",
    )

    click_id: LenientText = maybe("The click id that the answer to the click gave.")
    id: _OwnId | None = maybe(
        "The client's own id of the click, if there is no click id yet. It needs a key.",
        "rt_2871660403117829",
    )
    lead_id: LenientText = maybe(
        "The client's own id of the lead or sale, for a lead without `customer_id` and a "
        "sale without `invoice_id`: sent again, it is one.",
        "rt_8114093327716502",
    )
    event_name: LenientText = maybe("What the customer did.", "Sign Up")
    customer_id: Annotated[Name | None, OrNothing()] = maybe(
        "Your id of the customer, who has one lead of each `event_name`."
    )
    email: LenientText = maybe(
        "The customer's e-mail address. Only a keyed hash of it is stored.",
        "jane@example.com",
    )
    name: LenientText = maybe("The customer's name.", "Jane Doe")
    avatar: LenientText = maybe(
        "The URL of the customer's picture.", "https://shop.example/jane.png"
    )

    @property
    def target(self) -> ByClick | ByOwnId:
        """The click that it names; raises Refusal if it names none."""
        if says_something(self.click_id):
            return ByClick(self.click_id)
        if self.id:
            return ByOwnId(self.id)
        raise Refusal("field_missing", field="click_id")


class _SaleBody(_LeadBody):
    """A sale, as the script reports it."""

    model_config = example(
        "click_id",
        "id",
        click_id="clk_AQGZ0mX7cAB-example",
        customer_id="user_123",
        amount=4999,
        currency="EUR",
        invoice_id="in_123",
    )

    amount: Annotated[int, Field(ge=0, lt=2**31), WHOLE] = doc(
        "What was paid, in the smallest unit of the currency."
    )
    currency: Currency | None = doc(
        "The currency, by its code in ISO 4217.", default="usd"
    )
    invoice_id: LenientText = maybe("Your id of the sale, which is recorded once.")


_SomeLead = TypeVar("_SomeLead", bound=_LeadBody)


class _Partner(BaseModel):
    code: str = doc("The partner's code.", "PARTNER123")
    name: str | None = maybe("What people call the partner.", "Jane")


class _Clicked(BaseModel):
    """The answer to a click."""

    click_id: str | None = doc(
        "The id that the visitor keeps, say in a cookie, and a lead names later.",
        "clk_AQGZ0mX7cAB-example",
    )
    partner: _Partner | None = doc("The partner whose link it is, if it is known.")
    cookie_window_days: int = doc(
        "For how many days the visitor keeps the click id.", 60
    )


class _Led(BaseModel):
    """The answer to a lead."""

    click_id: str | None = doc(
        "The click id of the lead's click, if it is known already.",
        "clk_AQGZ0mX7cAB-example",
    )
    provisional: bool = doc(
        "True of what counts when a server reports it with a secret key: every sale, and "
        "a lead if the program takes leads from servers only.",
        example=False,
    )


class _Problem(BaseModel):
    error: str = doc("A word for what is wrong.", "link_unknown")
    message: str = doc("What is wrong.", "No link has this code")


def _key_in(body: bytes) -> str | None:
    try:
        key = json_object(body).get("key")
    except Refusal:
        return None  # parsing says what is wrong
    return key if isinstance(key, str) and key else None


def _parse_click(request: RawRequest) -> Sequence[Draft]:
    click = read(_ClickBody, request.body)
    among: Final = "workspace" if click.key else "anywhere"
    return [
        Draft(
            kind=Kind.CLICK,
            target=ByCode(click.code, _domain(click), among),
            existing_click=click.existing_click_id,
            dedupe=own_click(click.id),
            referrer=click.referrer,
            page_url=click.url,
            age=click.milliseconds_old,
            properties=click.said,
        )
    ]


def _domain(click: _ClickBody) -> str | None:
    if click.domain:
        return click.domain.lower()
    try:
        return weburl.parse(click.url or "").host
    except ValueError:
        return None


def _judge(outcome: Outcome) -> Draft:
    asked, link = outcome.draft.properties.get("program"), outcome.link
    if link and isinstance(asked, int) and asked != link.program_number:
        raise Refusal("link_unknown")
    return outcome.draft


def _answer_click(outcome: Outcome) -> Reply:
    link = outcome.link
    partner: Json = None
    if link and link.partner_code:
        partner = {"code": link.partner_code, "name": link.partner_name}
    return Reply.ok(
        click_id=outcome.click_token,
        partner=partner,
        cookie_window_days=link.cookie_window_days if link else _COOKIE_WINDOW,
    )


def _read_customers(model: type[_SomeLead], body: bytes) -> _SomeLead:
    said = json_object(body)
    theirs = {own: said[name] for name, own in _ALSO.items() if name in said}
    return validated(model, theirs | said)


def _draft(lead: _LeadBody, **facts: Any) -> Draft:
    return Draft(
        target=lead.target,
        external_id=lead.customer_id,
        customer_name=lead.name,
        customer_avatar=lead.avatar,
        unreturned_email=lead.email,
        age=lead.milliseconds_old,
        properties=lead.said,
        **facts,
    )


def _parse_lead(request: RawRequest) -> Sequence[Draft]:
    lead = _read_customers(_LeadBody, request.body)
    key = Dedupe.of(LEAD_SCOPE, "tracker", *_identity(lead))
    return [_draft(lead, kind=Kind.LEAD, name=lead.event_name, dedupe=key)]


def _parse_sale(request: RawRequest) -> Sequence[Draft]:
    sale = _read_customers(_SaleBody, request.body)
    key: Dedupe | None = None
    if sale.invoice_id:
        key = Dedupe.of(SALE_SCOPE, "tracker", "invoice", sale.invoice_id)
    elif sale.lead_id:
        key = Dedupe.of(SALE_SCOPE, "tracker", "sale", sale.lead_id)
    return [
        _draft(
            sale,
            kind=Kind.SALE,
            name=sale.event_name or "Purchase",
            dedupe=key,
            quantity=1 if sale.amount else 0,
            amount=sale.amount,
            currency=(sale.currency or "usd").upper(),
        )
    ]


def _identity(lead: _LeadBody) -> tuple[str, ...]:
    """What makes two requests one lead."""
    if lead.customer_id:
        return "customer", lead.customer_id, lead.event_name or ""
    if lead.lead_id:
        return "lead", lead.lead_id
    return "click", lead.click_id or lead.id or "", lead.event_name or ""


def _answer_lead(outcome: Outcome) -> Reply:
    is_deferred = outcome.draft.kind is Kind.DEFERRED
    return Reply.ok(click_id=outcome.click_token, provisional=is_deferred)


def _refuse(refusal: Refusal) -> Reply:
    status, words = _REFUSALS[refusal.code]
    text = words.format(field=refusal.field, problem=refusal.problem or "there")
    body: Json = {"error": refusal.code, "message": text}
    return Reply(status, body, retry_headers(refusal, status))


_CREDENTIAL: Final = Credential(
    is_optional=True, publishable="publish", in_body=_key_in
)

TRACKER: Final = Dialect(
    name="tracker",
    prefix="/t",
    endpoints=(
        Endpoint(
            path="/t/click",
            summary="Record that a visitor came by a link",
            credential=replace(_CREDENTIAL, only_names=True),
            body=_ClickBody,
            reply=_Clicked,
            refusals=("link_unknown", "link_inactive"),
            parse=_parse_click,
            judge=_judge,
            answer=_answer_click,
            from_browsers=True,
            keeps_cookie=True,
        ),
        Endpoint(
            path="/t/lead",
            summary="Record that a visitor who clicked signed up",
            credential=_CREDENTIAL,
            body=_LeadBody,
            reply=_Led,
            refusals=("link_unknown", "click_unknown", "click_expired"),
            parse=_parse_lead,
            judge=_judge,
            answer=_answer_lead,
            from_browsers=True,
        ),
        Endpoint(
            path="/t/sale",
            summary="Record that a customer paid, for a server to confirm",
            credential=replace(
                _CREDENTIAL, is_optional=False, publishable="publish_sale"
            ),
            body=_SaleBody,
            reply=_Led,
            refusals=("link_unknown", "click_unknown", "click_expired"),
            parse=_parse_sale,
            judge=_judge,
            answer=_answer_lead,
            from_browsers=True,
        ),
    ),
    refuse=_refuse,
    problem=_Problem,
)
