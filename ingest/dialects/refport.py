"""Refport: leads and sales that a customer's server reports.

The answers follow the vendor's pages on Track Lead and Track Sale. Its SDK parses every answer as JSON
before it looks at the status, so every refusal is JSON too. Where the vendor says nothing:

- A customer has one lead of a name in a workspace, for good. A repeat is answered like the
  first. Names that differ only in case or white space are one name.
- `link` is null while the edge cannot look links up; a worker resolves it later.
- An invoice is one sale of a workspace, for good. A sale of nothing counts nothing.
- Reftide keeps no commissions: `commissionAmount` is null, and `status` is `pending`.
- A click that is older than its attribution window is an INVALID_CLICK_ID.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field

from ingest.contracts.directory import LinkRecord
from ingest.contracts.envelope import SALE_SCOPE, Dedupe, Kind
from ingest.contracts.storable import NAME_CHARS, Json
from ingest.dialects.body import WHOLE, Body, Metadata, Name, doc, example, maybe, read
from ingest.dialects.currencies import Currency
from ingest.dialects.refusals import answers, retry_headers
from ingest.dialects.spec.events import ByClick, Draft, Outcome
from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.requests import RawRequest, Reply
from ingest.dialects.spec.routes import Credential, Dialect, Endpoint, Limit

_MAX_AMOUNT: Final = 10**12  # minor units; millions of such sales fit a bigint
_Amount = Annotated[int, Field(ge=0, le=_MAX_AMOUNT), WHOLE]
_Processor = Literal["stripe", "shopify", "polar", "paddle", "revenuecat", "custom"]
_INVALID: Final = "VALIDATION_ERROR"
_BAD_CLICK: Final = "INVALID_CLICK_ID"
_SLOW_DOWN: Final = "Too many requests — retry after backing off"

_REFUSALS: Final = answers(
    {
        "not_found": (404, "NOT_FOUND", "Not found"),
        "method_not_allowed": (405, "METHOD_NOT_ALLOWED", "Method not allowed"),
        "body_too_large": (413, "PAYLOAD_TOO_LARGE", "The request body is too large"),
        "encoding_unsupported": (415, "UNSUPPORTED_ENCODING", "Unsupported encoding"),
        "body_malformed": (400, _INVALID, "The request body is not valid JSON"),
        "field_missing": (400, _INVALID, "{field} is required"),
        "field_invalid": (400, _INVALID, "{field} {problem}"),
        "link_unknown": (
            400,
            _BAD_CLICK,
            "The clickId does not match any recorded click",
        ),
        "click_expired": (
            400,
            _BAD_CLICK,
            "The clickId is older than the attribution window",
        ),
        "unauthorised": (401, "UNAUTHORIZED", "Invalid or missing API key"),
        "rate_limited": (429, "RATE_LIMIT_EXCEEDED", _SLOW_DOWN),
        "switched_off": (
            503,
            "SERVICE_UNAVAILABLE",
            "Lead tracking is unavailable right now",
        ),
        "failed": (500, "INTERNAL_ERROR", "{what} tracking failed"),
    }
)


class _Event(Body):
    """What leads and sales have in common."""

    click_id: Name = doc(
        "The id of the click that brought the customer.", alias="clickId"
    )
    external_id: Name = doc("Your id of the customer.", alias="customerExternalId")
    email: str | None = maybe(
        "The customer's e-mail address.", alias="customerEmail", max_length=320
    )
    name: str | None = maybe("The customer's name.", alias="customerName")
    avatar: str | None = maybe(
        "The URL of the customer's picture.", alias="customerAvatar"
    )
    metadata: Metadata = maybe(
        "Anything else, stored with the lead; at most 10,000 characters of JSON."
    )


class _Lead(_Event):
    model_config = example(
        clickId="abc123",
        eventName="Sign Up",
        customerExternalId="user_001",
        customerEmail="alice@example.com",
        customerName="Alice",
        customerAvatar="https://example.com/avatar.png",
        metadata={"plan": "free"},
    )

    event_name: Name = doc(
        "What the customer did. A customer has one lead of a name.", alias="eventName"
    )


class _Sale(_Event):
    model_config = example(
        clickId="abc123",
        customerExternalId="user_001",
        amount=4900,
        currency="usd",
        eventName="Purchase",
        invoiceId="inv_001",
        paymentProcessor="stripe",
        customerEmail="alice@example.com",
        customerName="Alice",
        customerAvatar="https://example.com/avatar.png",
        metadata={"plan": "pro"},
    )

    amount: _Amount = doc("What was paid, in the smallest unit of the currency.")
    currency: Currency | None = doc(
        "The currency, by its code in ISO 4217.", default="usd"
    )
    event_name: Name | None = doc(
        "What was paid for.", default="Purchase", alias="eventName"
    )
    invoice_id: Annotated[str, Field(max_length=NAME_CHARS)] | None = maybe(
        "The invoice. Sales with one invoice are one sale.", alias="invoiceId"
    )
    processor: _Processor | None = doc(
        "Who processed the payment.", default="custom", alias="paymentProcessor"
    )


class _Click(BaseModel):
    id: str | None = doc("The signed id of the click.", "clk_AQGZ0mX7cAB-example")


class _Link(BaseModel):
    id: str = doc("The link's id.", "link_8ZQ4T1")
    domain: str = doc("The link's domain.", "example.com")
    key: str = doc("The link's code.", "SARAH")
    url: str = doc("Where the link leads.", "https://example.com/")
    program_id: str | None = doc(
        "The program that the link belongs to.", "prog_007", alias="programId"
    )


class _Customer(BaseModel):
    external_id: str = doc("Your id of the customer.", "user_001", alias="externalId")
    email: str | None = doc("The customer's e-mail address.", "alice@example.com")
    name: str | None = doc("The customer's name.", "Alice")


class _Tracked(BaseModel):
    event_name: str = doc("The name of the lead.", "Sign Up", alias="eventName")
    click: _Click = doc("The click that brought the customer.")
    link: _Link | None = doc(
        "The link that was clicked; null while the edge cannot look links up."
    )
    customer: _Customer = doc("The customer, as the request says.")


class _Sum(BaseModel):
    id: str = doc("An id of the sale.", "sale_0198c7a05f0070008000000000000001")
    amount: int = doc("What was paid, in the smallest unit of the currency.", 4900)
    currency: str = doc("The currency, in lower case.", "usd")
    commission: None = doc(
        "Always null: Reftide keeps no commissions.", None, alias="commissionAmount"
    )
    status: str = doc("Always `pending`, likewise.", "pending")
    invoice_id: str | None = doc("The invoice.", "inv_001", alias="invoiceId")
    processor: str = doc(
        "Who processed the payment.", "stripe", alias="paymentProcessor"
    )


class _Sold(BaseModel):
    event_name: str = doc("What was paid for.", "Purchase", alias="eventName")
    customer: _Customer = doc("The customer, as the request says.")
    sale: _Sum = doc("What was paid.")


class _Error(BaseModel):
    code: str = doc("A code for what is wrong.", "INVALID_CLICK_ID")
    message: str = doc(
        "What is wrong, in words.", "The clickId does not match any recorded click"
    )


class _Problem(BaseModel):
    error: _Error = doc("Why the request is refused.")


def _parse(request: RawRequest) -> Sequence[Draft]:
    lead = read(_Lead, request.body)
    name = "-".join(lead.event_name.lower().split())
    return [
        _draft(
            lead,
            kind=Kind.LEAD,
            dedupe=Dedupe.of("lead", lead.external_id, name),
            name=lead.event_name,
            properties=lead.metadata or {},
        )
    ]


def _draft(event: _Event, **facts: Any) -> Draft:
    return Draft(
        target=ByClick(event.click_id),
        external_id=event.external_id,
        customer_email=event.email or None,
        customer_name=event.name or None,
        customer_avatar=event.avatar or None,
        **facts,
    )


def _answer(outcome: Outcome) -> Reply:
    draft, link = outcome.draft, outcome.link
    return Reply.ok(
        eventName=draft.name,
        click={"id": outcome.click_token},
        link=_link_of(link) if link else None,
        customer=_customer_of(draft),
    )


def _customer_of(draft: Draft) -> Json:
    return {
        "externalId": draft.external_id,
        "email": draft.customer_email,
        "name": draft.customer_name,
    }


def _link_of(link: LinkRecord) -> Json:
    number = link.program_number
    return {
        "id": link.public_id,
        "domain": link.domain,
        "key": link.code,
        "url": link.url,
        "programId": None if number is None else f"prog_{number:03d}",
    }


def _parse_sale(request: RawRequest) -> Sequence[Draft]:
    sale = read(_Sale, request.body)
    invoice = sale.invoice_id or None
    told = {
        "paymentProcessor": sale.processor or "custom",
        "invoiceId": invoice,
        "metadata": sale.metadata,
    }
    return [
        _draft(
            sale,
            kind=Kind.SALE,
            dedupe=Dedupe.of(SALE_SCOPE, "refport", invoice) if invoice else None,
            name=sale.event_name or "Purchase",
            quantity=1 if sale.amount else 0,
            amount=sale.amount,
            currency=(sale.currency or "usd").upper(),
            properties={name: value for name, value in told.items() if value},
        )
    ]


def _answer_sale(outcome: Outcome) -> Reply:
    draft = outcome.draft
    return Reply.ok(
        eventName=draft.name,
        customer=_customer_of(draft),
        sale={
            "id": f"sale_{outcome.event_id.hex}",
            "amount": draft.amount,
            "currency": (draft.currency or "").lower(),
            "commissionAmount": None,
            "status": "pending",
            "invoiceId": draft.properties.get("invoiceId"),
            "paymentProcessor": draft.properties["paymentProcessor"],
        },
    )


def _refuse(refusal: Refusal) -> Reply:
    status, code, words = _REFUSALS[refusal.code]
    what = "Sale" if refusal.field.endswith("/sale") else "Lead"
    message = words.format(field=refusal.field, problem=refusal.problem, what=what)
    return Reply(
        status,
        {"error": {"code": code, "message": message}},
        retry_headers(refusal, status),
    )


_KEY: Final = Credential(scope="track")
_LIMITS: Final = (Limit(name="refport.key", by="key", per_minute=600),)

REFPORT: Final = Dialect(
    name="refport",
    prefix="/api/track",
    endpoints=(
        Endpoint(
            path="/api/track/lead",
            summary="Record that a visitor whose click is known signed up",
            credential=_KEY,
            limits=_LIMITS,
            body=_Lead,
            reply=_Tracked,
            refusals=("click_unknown", "click_expired"),
            parse=_parse,
            answer=_answer,
        ),
        Endpoint(
            path="/api/track/sale",
            summary="Record that a customer whose click is known paid",
            credential=_KEY,
            limits=_LIMITS,
            body=_Sale,
            reply=_Sold,
            refusals=("click_unknown", "click_expired"),
            parse=_parse_sale,
            answer=_answer_sale,
        ),
    ),
    refuse=_refuse,
    problem=_Problem,
    about=__doc__,
)
