"""Affitor's sales and refunds, which servers report.

- A `transaction_id` names one sale of a workspace, for good.
- A refund without an amount takes back all that is left of its sale. Refunds of one sale are
  told apart by their amounts, or by a `refund_id`, which is ours.
- Reftide keeps no commissions: their ids and amounts are null. A sale that no partner brought
  has none to reverse.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from ingest.contracts.envelope import SALE_SCOPE, Dedupe, Kind
from ingest.contracts.ids import test_event_number
from ingest.contracts.storable import NAME_CHARS, Json
from ingest.dialects.affitor import wire
from ingest.dialects.body import (
    WHOLE,
    LenientText,
    Name,
    OrNothing,
    doc,
    example,
    lenient_integer,
    maybe,
    read,
)
from ingest.dialects.currencies import Currency
from ingest.dialects.spec.events import (
    ByClick,
    ByCustomer,
    ByProgram,
    BySale,
    Draft,
    FirstOf,
    Outcome,
)
from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.requests import RawRequest, Reply
from ingest.dialects.spec.routes import Credential, Endpoint

_KEY: Final = Credential(scope="track")
_MAX_AMOUNT: Final = 10**12  # minor units; millions of such sales fit a bigint
_Cents = Annotated[int, Field(ge=1, le=_MAX_AMOUNT), WHOLE]
#: 0 asks for all that is left.
_CentsBack = Annotated[int, Field(ge=0, le=_MAX_AMOUNT), WHOLE]
_Flag = Annotated[bool | None, OrNothing()]

_ABOUT: Final = (
    "sale_type",
    "is_recurring",
    "subscription_id",
    "subscription_interval",
    "product_id",
    "line_items",
)
#: A sale or refund of a test, which is nobody's.
_NOBODY: Final = FirstOf(())


class _SaleBody(wire.Event):
    """A sale, as a server reports it."""

    model_config = example(
        "click_id",
        "customer_key",
        transaction_id="txn_abc123",
        customer_key="user_123",
        amount_cents=4900,
        currency="USD",
        sale_type="payment",
    )

    transaction_id: Name = doc("Your id of the payment. One id is one sale.")
    amount_cents: _Cents = doc("What was paid, in the smallest unit of the currency.")
    customer_key: Annotated[str, Field(max_length=NAME_CHARS)] | None = maybe(
        "Your id of the customer, as the lead said it."
    )
    click_id: str | None = maybe(
        "The click id that the answer to the click gave.", "clk_AQGZ0mX7cAB-example"
    )
    currency: Currency | None = doc(
        "The currency, by its code in ISO 4217.", default="USD"
    )
    sale_type: Literal["payment", "subscription"] | None = doc(
        "What kind of payment it was.", default="payment"
    )
    is_recurring: _Flag = maybe("Whether it renews a subscription.", example=True)
    subscription_id: LenientText = maybe("Your id of the subscription.", "sub_xyz")
    subscription_interval: LenientText = maybe(
        "`monthly`, `quarterly` or `annual`.", "monthly"
    )
    product_id: LenientText = maybe("What was bought.", "prod_pro_plan")
    line_items: Any = maybe("What was bought, line by line; stored as it is.", [])

    @property
    def buyer(self) -> tuple[ByClick | ByCustomer, ...]:
        """Whom the sale may belong to, best first."""
        key, click = wire.said(self.customer_key), wire.said(self.click_id)
        by_click = (ByClick(click),) if click else ()
        return (*by_click, ByCustomer(key)) if key else by_click

    @property
    def about(self) -> Mapping[str, Json]:
        """What else is said of the sale."""
        told = {name: getattr(self, name) for name in _ABOUT}
        return {name: value for name, value in told.items() if value is not None}


class _RefundBody(wire.Event):
    """A refund, as a server reports it."""

    model_config = example(
        transaction_id="txn_abc123",
        refund_amount_cents=5000,
        refund_reason="Customer requested cancellation",
    )

    transaction_id: Name = doc("The `transaction_id` of the sale.")
    refund_amount_cents: _CentsBack | None = maybe(
        "What is paid back, in the smallest unit of the sale's currency; all that is "
        "left if it is absent or 0."
    )
    refund_reason: LenientText = maybe("Why, in words.")
    refund_id: Annotated[str, Field(max_length=NAME_CHARS)] | None = maybe(
        "Your id of the refund, if a sale may have several of one amount. Not the "
        "vendor's.",
        "re_1",
    )


class _Sold(wire.Tracked):
    """The answer to a sale."""

    sale_id: int | None = maybe("A number of the sale.", 359842711437312)
    commission_id: None = maybe("Always null: Reftide keeps no commissions.", None)
    attributed: bool | None = maybe(
        "False if the click is too old to earn; else left out.", example=False
    )
    reason: str | None = maybe(
        "Why the sale earns nothing.", "attribution_window_expired"
    )


class _Refunded(wire.Tracked):
    """The answer to a refund."""

    status: str | None = maybe(
        "`reversed` if the whole sale is refunded, `refunded` if a part is, `skipped` if "
        "the refund was reported before, `no_commission` if no partner brought the sale.",
        "refunded",
    )
    reason: str | None = maybe("Why a refund is skipped.", "already reversed")
    deduction: None = maybe(
        "Always null: Reftide keeps no commissions.", None, alias="deductionAmount"
    )
    commission_id: None = maybe("Always null, likewise.", None)


def _sale_key(transaction_id: str) -> Dedupe:
    return Dedupe.of(SALE_SCOPE, "affitor", transaction_id)


def _test(event: wire.Event, kind: Kind) -> Draft:
    number = lenient_integer(event.extra, "program_id")
    return Draft(
        kind=kind,
        target=_NOBODY if number is None else ByProgram(number),
        is_test=True,
        properties={"additional_data": dict(event.extra)},
    )


def _parse_sale(request: RawRequest) -> Sequence[Draft]:
    if (tried := read(wire.Event, request.body)).is_test:
        return [_test(tried, Kind.SALE)]
    try:
        sale = read(_SaleBody, request.body)
    except Refusal as refusal:
        raise _in_the_vendors_words(refusal) from refusal
    if not sale.buyer:
        raise Refusal("click_unknown")
    extra = {"additional_data": dict(sale.extra)} if sale.extra else {}
    return [
        Draft(
            kind=Kind.SALE,
            target=FirstOf(sale.buyer),
            dedupe=_sale_key(sale.transaction_id),
            external_id=wire.said(sale.customer_key),
            amount=sale.amount_cents,
            currency=(sale.currency or "USD").upper(),
            session=sale.session_id,
            page_url=sale.page_url,
            properties={"transaction_id": sale.transaction_id, **sale.about, **extra},
        )
    ]


def _in_the_vendors_words(refusal: Refusal) -> Refusal:
    """The vendor says of two fields what they have to be, whatever is wrong with them."""
    must = {
        "transaction_id": "and must be a string",
        "amount_cents": "and must be a positive integer",
    }.get(refusal.field)
    if must is None or refusal.code == "body_malformed":
        return refusal
    return Refusal("field_missing", field=refusal.field, problem=must)


def _judge_sale(outcome: Outcome) -> Draft:
    is_known = outcome.link or outcome.customer or outcome.click_token
    is_old = outcome.is_expired or outcome.draft.is_test
    if outcome.is_certain and not is_known and not is_old:
        raise Refusal("click_unknown")
    return outcome.draft


def _answer_sale(outcome: Outcome) -> Reply:
    if outcome.draft.is_test:
        return tested(outcome, "sale")
    number = test_event_number(outcome.event_id)
    if outcome.is_expired:
        return Reply.ok(
            success=True,
            attributed=False,
            reason="attribution_window_expired",
            sale_id=number,
            commission_id=None,
            message="Sale tracked — attribution window expired, no commission created",
        )
    return Reply.ok(
        success=True,
        sale_id=number,
        commission_id=None,
        message="Sale tracked successfully",
    )


def _repeat_sale(outcome: Outcome, first: Reply) -> Reply:
    if outcome.draft.is_test:
        return first
    return wire.refuse(Refusal("sale_known"))


def _parse_refund(request: RawRequest) -> Sequence[Draft]:
    if (tried := read(wire.Event, request.body)).is_test:
        return [_test(tried, Kind.REFUND)]
    refund = read(_RefundBody, request.body)
    back, named = refund.refund_amount_cents or 0, wire.said(refund.refund_id)
    sale = _sale_key(refund.transaction_id)
    told = {"refund_reason": refund.refund_reason, "refund_id": named}
    own = ("id", named) if named else ("amount", str(back))
    return [
        Draft(
            kind=Kind.REFUND,
            target=BySale(sale),
            dedupe=Dedupe.of("refund", sale.key.hex(), *own),
            amount=-back or None,
            properties={
                "transaction_id": refund.transaction_id,
                **{name: text for name, text in told.items() if text},
            },
        )
    ]


def _answer_refund(outcome: Outcome) -> Reply:
    draft, sale = outcome.draft, outcome.sale
    if draft.is_test:
        return tested(outcome, "refund")
    if sale is None and outcome.is_certain:
        return wire.refuse(Refusal("sale_unknown"))
    if sale is not None and not sale.is_earned:
        return _uncommissioned()
    return _reversed(_status(outcome), deductionAmount=None)


def _repeat_refund(outcome: Outcome, first: Reply) -> Reply:
    # One that was refused since its sale was unknown may have its sale by now.
    if outcome.draft.is_test or first.status != Reply.ok().status:
        return _answer_refund(outcome)
    if outcome.sale is not None and not outcome.sale.is_earned:
        return _uncommissioned()
    return _reversed("skipped", reason=f"already {_status(outcome)}")


def _status(outcome: Outcome) -> str:
    """How much of the sale is refunded, as far as this refund tells."""
    asked, sale = outcome.draft.amount, outcome.sale
    is_whole = asked is None or (sale is not None and -asked >= (sale.amount or 0))
    return "reversed" if is_whole else "refunded"


def _reversed(status: str, **facts: Json) -> Reply:
    return Reply.ok(success=True, status=status, **facts, commission_id=None)


def _uncommissioned() -> Reply:
    return Reply.ok(
        success=True,
        status="no_commission",
        message="Sale has no commission to reverse",
    )


def tested(outcome: Outcome, what: str) -> Reply:
    """The answer to a test event."""
    target = outcome.draft.target
    number = target.number if isinstance(target, ByProgram) else None
    event = test_event_number(outcome.event_id)
    return Reply.ok(
        success=True,
        message=f"Test {what} event tracked successfully",
        data={"eventId": event, "programId": number, "test_mode": True},
    )


SALE: Final = Endpoint(
    path="/api/v1/track/sale",
    summary="Record that a customer paid",
    credential=_KEY,
    body=_SaleBody,
    reply=_Sold,
    refusals=("click_unknown", "program_unknown", "sale_known"),
    parse=_parse_sale,
    judge=_judge_sale,
    answer=_answer_sale,
    repeat=_repeat_sale,
    asks_customer=True,
)
REFUND: Final = Endpoint(
    path="/api/v1/track/refund",
    summary="Record that all or part of a sale was paid back",
    credential=_KEY,
    body=_RefundBody,
    reply=_Refunded,
    refusals=("sale_unknown", "program_unknown"),
    parse=_parse_refund,
    answer=_answer_refund,
    repeat=_repeat_refund,
)
