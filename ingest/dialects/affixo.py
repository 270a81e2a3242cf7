"""Affixo: clicks and leads that servers report, under `/v1/track`.

The answers follow the vendor's page on Track a click, and its general pages on tokens and
tracking. `ref` and `manual_code` are codes of the key's workspace, or else of the
installation; a `visitor_id` is a click id. Where the vendor says nothing:

- A visitor without a known click id or fingerprint is new: `none`, confidence 0.
- A lead belongs to the first of `visitor_id`, `fingerprint`, `ref` and `manual_code` that
  is known. A lead that names nothing known is organic, and is recorded.
- An `external_id` names one conversion of a workspace, for good. It names no customer. Test
  conversions have external ids of their own.
- `attributed` is false while the edge cannot look links up; a worker may still attribute
  the lead.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Final
from uuid import UUID, uuid5

from pydantic import BaseModel, Field

from ingest.contracts.envelope import Dedupe, Kind
from ingest.contracts.storable import NAME_CHARS, Json
from ingest.dialects.body import Body, Name, doc, example, maybe, read, says_something
from ingest.dialects.refusals import answers, retry_headers
from ingest.dialects.spec.events import (
    ByClick,
    ByCode,
    ByFingerprint,
    Draft,
    FirstOf,
    Outcome,
)
from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.requests import RawRequest, Reply
from ingest.dialects.spec.routes import Credential, Dialect, Endpoint, Limit

#: Under which conversions have their ids; never to be changed.
_CONVERSIONS: Final = UUID("0b8f3a55-7f6e-4d0c-9d5b-5b1f0e9a4c37")

#: How a visitor is known, and how sure that is: two people may have equal fingerprints.
_MATCHES: Final[Mapping[str | None, tuple[str, float]]] = {
    "click": ("cookie", 1),
    "fingerprint": ("fingerprint", 0.8),
    None: ("none", 0),
}

_HINTS: Final = "one of visitor_id, fingerprint, ref, manual_code is needed"
_NOTHING: Final = (404, "unknown_resource")

_REFUSALS: Final = answers(
    {
        "not_found": _NOTHING,
        "method_not_allowed": (405, "method_not_allowed"),
        "body_too_large": (413, "payload_too_large"),
        "encoding_unsupported": (415, "unsupported_encoding"),
        "body_malformed": (400, "invalid_json"),
        "field_missing": (400, "{field}_required"),
        "field_invalid": (400, "{field}_invalid"),
        "link_unknown": (404, "link_not_found"),
        "program_unknown": _NOTHING,
        "customer_advanced": (409, "conversion_exists"),
        "unauthorised": (401, "unauthorized"),
        "forbidden": (403, "insufficient_scope"),
        "rate_limited": (429, "rate_limited"),
        "switched_off": (503, "service_unavailable"),
        "failed": (500, "internal_error"),
    }
)

_Code = Annotated[str, Field(max_length=NAME_CHARS)]
_VisitorId = Annotated[
    str | None,
    doc("The visitor's id from an earlier answer.", "clk_AQGZ0mX7cAB-example"),
]
_Fingerprint = Annotated[
    str | None,
    doc(
        "Your fingerprint of the visitor's browser, for a visitor without id.",
        "fp_7c1e",
    ),
]
_Url = Annotated[
    str | None,
    doc("The page that the visitor is on.", "https://example.com/pricing?ref=SARAH"),
]
_Referrer = Annotated[
    str | None,
    doc("The page that the visitor came from.", "https://blog.example.com/post"),
]


class _Click(Body):
    model_config = example(ref="SARAH", url="https://example.com/pricing?ref=SARAH")

    ref: Name = doc("The referral code that the visitor followed.")
    visitor_id: _VisitorId = None
    fingerprint: _Fingerprint = None
    url: _Url = None
    referrer: _Referrer = None


class _Lead(Body):
    model_config = example(
        "visitor_id",
        "fingerprint",
        "ref",
        "manual_code",
        ref="SARAH",
        external_id="user_001",
    )

    visitor_id: _VisitorId = None
    fingerprint: _Fingerprint = None
    ref: _Code | None = maybe("The referral code that the customer came by.")
    manual_code: _Code | None = maybe(
        "A referral code that the customer typed in.", "SARAH"
    )
    external_id: _Code | None = maybe(
        "Your id of the conversion. One id is one conversion of the workspace."
    )
    is_test: bool | None = doc(
        "Whether this is a test: it is recorded and counts nothing.",
        example=False,
        default=False,
    )
    url: _Url = None
    referrer: _Referrer = None


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


class _Led(BaseModel):
    ok: bool = doc("Always true: the lead is durable.", example=True)
    attributed: bool = doc(
        "Whether a partner is known to have brought the lead. False also while "
        "the edge cannot look links up.",
        example=True,
    )
    conversion_id: str | None = maybe(
        "The id of the conversion, the same for every attempt.",
        "conv_0198c7a05f0070008000000000000001",
    )
    visitor_id: str | None = maybe(
        "The id of the visitor whose lead it is.", "clk_AQGZ0mX7cAB-example"
    )


class _Problem(BaseModel):
    error: str = doc("A code for what is wrong.", "ref_required")
    need: str | None = maybe("The scope that the key lacks.", "track")
    detail: str | None = maybe(
        "What is wrong with the field.", "must be at most 255 characters"
    )


def _parse_click(request: RawRequest) -> Sequence[Draft]:
    click = read(_Click, request.body)
    return [
        Draft(
            kind=Kind.CLICK,
            target=ByCode(click.ref, among="workspace"),
            existing_click=click.visitor_id or None,
            fingerprint=click.fingerprint or None,
            referrer=click.referrer,
            page_url=click.url,
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


def _parse_lead(request: RawRequest) -> Sequence[Draft]:
    lead = read(_Lead, request.body)
    hints = tuple(_hints(lead))
    if not hints:
        raise Refusal("field_missing", field="visitor_id", problem=_HINTS)
    external_id, kind = lead.external_id, ("test",) if lead.is_test else ()
    key = Dedupe.of("lead", "affixo", external_id, *kind) if external_id else None
    return [
        Draft(
            kind=Kind.LEAD,
            target=FirstOf(hints),
            dedupe=key,
            referrer=lead.referrer,
            page_url=lead.url,
            is_test=bool(lead.is_test),
            properties={"external_id": external_id} if external_id else {},
        )
    ]


def _hints(lead: _Lead) -> Iterator[ByClick | ByFingerprint | ByCode]:
    """Whom a lead may belong to, best first."""
    if says_something(lead.visitor_id):
        yield ByClick(lead.visitor_id)
    if says_something(lead.fingerprint):
        yield ByFingerprint(lead.fingerprint)
    for code in (lead.ref, lead.manual_code):
        if says_something(code):
            yield ByCode(code, among="workspace")


def _answer_lead(outcome: Outcome) -> Reply:
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


def _refuse(refusal: Refusal) -> Reply:
    status, error = _REFUSALS[refusal.code]
    body: dict[str, Json] = {"error": error.format(field=refusal.field)}
    if refusal.code == "forbidden":
        body["need"] = refusal.field
    if refusal.code in {"field_missing", "field_invalid"} and refusal.problem:
        body["detail"] = refusal.problem
    return Reply(status, body, retry_headers(refusal, status))


_KEY: Final = Credential(scope="track")
_LIMITS: Final = (Limit(name="affixo.key", by="key", per_minute=600),)

AFFIXO: Final = Dialect(
    name="affixo",
    prefix="/v1",
    endpoints=(
        Endpoint(
            path="/v1/track/click",
            summary="Record that a visitor came by a referral code",
            credential=_KEY,
            limits=_LIMITS,
            body=_Click,
            reply=_Clicked,
            refusals=("link_unknown", "link_inactive"),
            parse=_parse_click,
            answer=_answer_click,
        ),
        Endpoint(
            path="/v1/track/lead",
            summary="Record a lead, whichever partner brought it",
            credential=_KEY,
            limits=_LIMITS,
            body=_Lead,
            reply=_Led,
            parse=_parse_lead,
            answer=_answer_lead,
        ),
    ),
    refuse=_refuse,
    problem=_Problem,
)
