"""Affixo's leads, sales and refunds, which servers report."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Final
from uuid import UUID, uuid5

from pydantic import BaseModel, Field

from ingest.contracts.envelope import SALE_SCOPE, Dedupe, Kind
from ingest.contracts.storable import Json
from ingest.dialects.affixo import wire
from ingest.dialects.body import (
    Body,
    Name,
    doc,
    example,
    maybe,
    read,
    says_something,
)
from ingest.dialects.currencies import Currency, minor_units
from ingest.dialects.spec.events import (
    ByClick,
    ByCode,
    ByFingerprint,
    BySale,
    ByVisitor,
    Draft,
    FirstOf,
    Outcome,
)
from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.requests import RawRequest, Reply
from ingest.dialects.spec.routes import Endpoint

#: Under which conversions have their ids; never to be changed.
_CONVERSIONS: Final = UUID("0b8f3a55-7f6e-4d0c-9d5b-5b1f0e9a4c37")
_HINTS: Final = "one of visitor_id, fingerprint, ref, manual_code is needed"
_MAX_AMOUNT: Final = 10**10  # major units; millions of such sales fit a bigint
_Amount = Annotated[float, Field(ge=0, le=_MAX_AMOUNT, allow_inf_nan=False)]


class _Conversion(Body):
    """What leads and sales have in common."""

    visitor_id: wire.VisitorId = None
    fingerprint: wire.Fingerprint = None
    ref: wire.Code | None = maybe(
        "The referral code that the customer came by.", "SARAH"
    )
    manual_code: wire.Code | None = maybe(
        "A referral code that the customer typed in.", "SARAH"
    )
    external_id: wire.Code | None = maybe(
        "Your id of the conversion. One id is one conversion of the workspace.",
        "user_001",
    )
    is_test: bool | None = doc(
        "Whether this is a test: it is recorded and counts nothing.",
        example=False,
        default=False,
    )
    url: wire.Url = None
    referrer: wire.Referrer = None


class _Lead(_Conversion):
    model_config = example(
        "visitor_id",
        "fingerprint",
        "ref",
        "manual_code",
        ref="SARAH",
        external_id="user_001",
    )


class _Sale(_Conversion):
    model_config = example(
        "visitor_id",
        "fingerprint",
        "ref",
        "manual_code",
        visitor_id="v_abc",
        external_id="order_1234",
        amount=99.0,
        currency="usd",
    )

    amount: _Amount | None = maybe("What was paid, in whole units of the currency.")
    currency: Currency | None = doc(
        "The currency, by its code in ISO 4217.", default="usd"
    )


class _Refund(Body):
    model_config = example(external_id="order_1234")

    external_id: Name = doc("The `external_id` of the sale.")


class _Converted(BaseModel):
    ok: bool = doc("Always true: the conversion is durable.", example=True)
    attributed: bool = doc(
        "Whether a partner is known to have brought it. False also while the edge "
        "cannot look links up.",
        example=True,
    )
    conversion_id: str | None = maybe(
        "The id of the conversion, the same for every attempt.",
        "conv_0198c7a05f0070008000000000000001",
    )
    visitor_id: str | None = maybe(
        "The id of the visitor whose conversion it is.", "clk_AQGZ0mX7cAB-example"
    )


class _Reversed(BaseModel):
    ok: bool = doc("Always true: the refund is durable.", example=True)
    conversion_id: str = doc(
        "The id of the sale that it reverses.", "conv_5fb5c2f6d3b35e0d8f0e5b0a6a3d9c11"
    )


def _parse_lead(request: RawRequest) -> Sequence[Draft]:
    lead = read(_Lead, request.body)
    return [_draft(lead, Kind.LEAD)]


def _parse_sale(request: RawRequest) -> Sequence[Draft]:
    sale = read(_Sale, request.body)
    amount = sale.amount
    if amount is None:
        return [_draft(sale, Kind.SALE)]
    currency = (sale.currency or "usd").upper()
    return [_draft(sale, Kind.SALE, (minor_units(amount, currency), currency))]


def _draft(
    said: _Conversion, kind: Kind, price: tuple[int, str] | None = None
) -> Draft:
    hints = tuple(_hints(said))
    if not hints:
        raise Refusal("field_missing", field="visitor_id", problem=_HINTS)
    told = {"external_id": said.external_id, "visitor_id": wire.own(said.visitor_id)}
    amount, currency = price or (None, None)
    return Draft(
        kind=kind,
        target=FirstOf(hints),
        dedupe=_key(kind, said.external_id, is_test=bool(said.is_test)),
        quantity=0 if amount == 0 else 1,
        amount=amount,
        currency=currency,
        referrer=said.referrer,
        page_url=said.url,
        is_test=bool(said.is_test),
        properties={name: text for name, text in told.items() if text},
    )


def _key(kind: Kind, external_id: str | None, *, is_test: bool) -> Dedupe | None:
    if not external_id:
        return None
    scope = SALE_SCOPE if kind is Kind.SALE else "lead"
    return Dedupe.of(scope, "affixo", external_id, *(("test",) if is_test else ()))


def _hints(
    said: _Conversion,
) -> Iterator[ByClick | ByVisitor | ByFingerprint | ByCode]:
    """Whom a conversion may belong to, best first."""
    if says_something(said.visitor_id):
        yield ByClick(said.visitor_id)
    if own := wire.own(said.visitor_id):
        yield ByVisitor(own)
    if says_something(said.fingerprint):
        yield ByFingerprint(said.fingerprint)
    for code in (said.ref, said.manual_code):
        if says_something(code):
            yield ByCode(code, among="workspace")


def _answer(outcome: Outcome) -> Reply:
    link = outcome.link
    if link is None or link.partner_uuid is None:
        return Reply.ok(ok=True, attributed=False)
    # The same for every attempt at one conversion.
    key = outcome.draft.dedupe
    conversion = uuid5(_CONVERSIONS, key.key.hex()) if key else outcome.event_id
    visitor = {"visitor_id": outcome.click_token} if outcome.click_token else {}
    return Reply.ok(
        ok=True, attributed=True, conversion_id=f"conv_{conversion.hex}", **visitor
    )


def _parse_refund(request: RawRequest) -> Sequence[Draft]:
    refund = read(_Refund, request.body)
    sale = Dedupe.of(SALE_SCOPE, "affixo", refund.external_id)
    return [
        Draft(
            kind=Kind.REFUND,
            target=BySale(sale),
            dedupe=Dedupe.of("refund", sale.key.hex()),
            properties={"external_id": refund.external_id},
        )
    ]


def _answer_refund(outcome: Outcome) -> Reply:
    target = outcome.draft.target
    if outcome.sale is None and outcome.is_certain:
        return wire.refuse(Refusal("sale_unknown"))
    key = target.key.key.hex() if isinstance(target, BySale) else ""
    conversion: Json = f"conv_{uuid5(_CONVERSIONS, key).hex}"
    return Reply.ok(ok=True, conversion_id=conversion)


def _repeat_refund(outcome: Outcome, _: Reply) -> Reply:
    # One that was refused since its sale was unknown may have its sale by now.
    return _answer_refund(outcome)


LEAD: Final = Endpoint(
    path="/v1/track/lead",
    summary="Record a lead, whichever partner brought it",
    credential=wire.KEY,
    limits=wire.LIMITS,
    body=_Lead,
    reply=_Converted,
    parse=_parse_lead,
    answer=_answer,
)
SALE: Final = Endpoint(
    path="/v1/track/sale",
    summary="Record a sale, whichever partner brought it",
    credential=wire.KEY,
    limits=wire.LIMITS,
    body=_Sale,
    reply=_Converted,
    parse=_parse_sale,
    answer=_answer,
)
REFUND: Final = Endpoint(
    path="/v1/track/refund",
    summary="Reverse a sale",
    credential=wire.KEY,
    limits=wire.LIMITS,
    body=_Refund,
    reply=_Reversed,
    refusals=("sale_unknown",),
    parse=_parse_refund,
    answer=_answer_refund,
    repeat=_repeat_refund,
)
