"""Leads and sales of our own script."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, Field

from ingest.contracts.envelope import LEAD_SCOPE, SALE_SCOPE, Dedupe, Kind
from ingest.dialects.body import (
    WHOLE,
    LenientText,
    Name,
    OrNothing,
    doc,
    example,
    json_object,
    maybe,
    says_something,
    validated,
)
from ingest.dialects.currencies import Currency
from ingest.dialects.spec.events import ByClick, ByOwnId, Draft, Outcome
from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.requests import RawRequest, Reply
from ingest.dialects.spec.routes import Endpoint
from ingest.dialects.tracker import wire

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


class _LeadBody(wire.Event):
    """A lead, as the script reports it."""

    model_config = example(
        "click_id",
        "id",
        click_id="clk_AQGZ0mX7cAB-example",
        customer_id="user_123",
    )

    click_id: LenientText = maybe(
        "The click id that the answer to the click gave. What begins with `rt_` is an `id`."
    )
    id: wire.OwnId | None = maybe(
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
            if self.click_id.startswith("rt_") and wire.OWN_ID.fullmatch(self.click_id):
                return ByOwnId(self.click_id)
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


LEAD: Final = Endpoint(
    path="/t/lead",
    summary="Record that a visitor who clicked signed up",
    credential=wire.CREDENTIAL,
    body=_LeadBody,
    reply=_Led,
    refusals=("link_unknown", "click_unknown", "click_expired"),
    parse=_parse_lead,
    judge=wire.judge,
    answer=_answer_lead,
    from_browsers=True,
)

SALE: Final = Endpoint(
    path="/t/sale",
    summary="Record that a customer paid, for a server to confirm",
    credential=replace(wire.CREDENTIAL, is_optional=False, publishable="publish_sale"),
    body=_SaleBody,
    reply=_Led,
    refusals=("link_unknown", "click_unknown", "click_expired"),
    parse=_parse_sale,
    judge=wire.judge,
    answer=_answer_lead,
    from_browsers=True,
)
