"""Affixo: clicks, leads, sales and refunds that servers report, under `/v1/track`.

The answers follow the vendor's page on Track a click, and its general pages on tokens and
tracking. `ref` and `manual_code` are codes of the key's workspace, or else of the
installation; a `visitor_id` is a click id of ours, or the caller's own id of the visitor, which
stays. Where the vendor says nothing:

- A visitor without an id or a known fingerprint is new: `none`, confidence 0.
- A lead or sale belongs to the first of `visitor_id`, `fingerprint`, `ref` and `manual_code` that
  is known. One that names nothing known is organic, and is recorded; it belongs to a later
  click that has its `visitor_id`.
- An `external_id` names one conversion of a workspace, for good. It names no customer. Test
  conversions have external ids of their own.
- `attributed` is false while the edge cannot look links up; a worker may still attribute
  the lead.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import BaseModel

from ingest.contracts.envelope import Kind
from ingest.dialects.affixo import conversions, wire
from ingest.dialects.body import Body, Name, doc, example, read
from ingest.dialects.spec.events import ByCode, Draft, Outcome
from ingest.dialects.spec.requests import RawRequest, Reply
from ingest.dialects.spec.routes import Dialect, Endpoint

#: How a visitor is known, and how sure that is: two people may have equal fingerprints.
_MATCHES: Final[Mapping[str | None, tuple[str, float]]] = {
    "click": ("cookie", 1),
    "fingerprint": ("fingerprint", 0.8),
    None: ("none", 0),
}


class _Click(Body):
    model_config = example(ref="SARAH", url="https://example.com/pricing?ref=SARAH")

    ref: Name = doc("The referral code that the visitor followed.")
    visitor_id: wire.VisitorId = None
    fingerprint: wire.Fingerprint = None
    url: wire.Url = None
    referrer: wire.Referrer = None


class _Clicked(BaseModel):
    ok: bool = doc("Always true: the click is durable.", example=True)
    visitor_id: str = doc(
        "The visitor's id. Keep it and send it with later events.",
        "clk_AQGZ0mX7cAB-example",
    )
    match_method: str = doc(
        "How the visitor is known: `cookie` by its id, `fingerprint`, or `none` "
        "for the first time.",
        "cookie",
    )
    match_confidence: float = doc(
        "How sure the match is: 1 by id, 0.8 by fingerprint, 0 if new.", 1
    )


def _parse_click(request: RawRequest) -> Sequence[Draft]:
    click = read(_Click, request.body)
    own = wire.own(click.visitor_id)
    return [
        Draft(
            kind=Kind.CLICK,
            target=ByCode(click.ref, among="workspace"),
            existing_click=click.visitor_id or None,
            own_visitor=own,
            fingerprint=click.fingerprint or None,
            referrer=click.referrer,
            page_url=click.url,
            properties={"visitor_id": own} if own else {},
        )
    ]


def _answer_click(outcome: Outcome) -> Reply:
    method, confidence = _MATCHES[outcome.matched_by]
    return Reply.ok(
        ok=True,
        visitor_id=outcome.click_token,
        match_method=method,
        match_confidence=confidence,
    )


AFFIXO: Final = Dialect(
    name="affixo",
    prefix="/v1",
    endpoints=(
        Endpoint(
            path="/v1/track/click",
            summary="Record that a visitor came by a referral code",
            credential=wire.KEY,
            limits=wire.LIMITS,
            body=_Click,
            reply=_Clicked,
            refusals=("link_unknown", "link_inactive"),
            parse=_parse_click,
            answer=_answer_click,
        ),
        conversions.LEAD,
        conversions.SALE,
        conversions.REFUND,
    ),
    refuse=wire.refuse,
    problem=wire.Problem,
    about=__doc__,
)
