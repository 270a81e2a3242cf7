"""Bricqs: referral codes of participants, under `/api/v1/referrals`.

`generate` and `stats` need a key in `X-API-Key`; `validate` and `convert` are public. The
answers follow the vendor's Referrals API page, and its general pages on errors and limits.
Where they say nothing:

- A code that is unknown, off, or of a link without a partner answers 404 everywhere.
- A participant has one code in a campaign, and a session converts a code once, both for
  good. A repeat is answered like the first, with an `Idempotency-Key` or without.
- `referrer_id` is null while the edge cannot look codes up; a worker resolves it later.
- `pending` counts sessions that clicked and did not convert.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final
from urllib.parse import quote, urlsplit
from uuid import UUID, uuid5

from pydantic import BaseModel, Field

from ingest.contracts.directory import LinkRecord
from ingest.contracts.envelope import Dedupe, Kind
from ingest.dialects.body import Body, Name, doc, example, read
from ingest.dialects.refusals import answers, retry_headers, usage_headers
from ingest.dialects.spec.events import (
    ByCode,
    ByPartner,
    Draft,
    Finding,
    Outcome,
    StatsOf,
)
from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.requests import RawRequest, Reply
from ingest.dialects.spec.routes import Credential, Dialect, Endpoint, Limit, Query

#: Under which conversions have their ids; never to be changed.
_CONVERSIONS: Final = UUID("5f0c1f7e-6d0b-4b1e-9a55-3b8f6f0e7a21")


_REFUSALS: Final = answers(
    {
        "not_found": (404, "Not Found"),
        "method_not_allowed": (405, "Method Not Allowed"),
        "body_too_large": (413, "Request body too large"),
        "encoding_unsupported": (415, "Unsupported content encoding"),
        "body_malformed": (400, "The request body is not a JSON object"),
        "field_missing": (400, "{field} is required"),
        "field_invalid": (400, "{field} {problem}"),
        "link_unknown": (404, "Referral code not found"),
        "program_unknown": (404, "Campaign not found"),
        "partner_unknown": (404, "Participant not found"),
        "click_unknown": (400, "Bad request"),
        "customer_advanced": (409, "Already converted"),
        "unauthorised": (401, "Invalid or missing API key"),
        "forbidden": (403, "The API key lacks the required scope"),
        "rate_limited": (429, "Rate limit exceeded"),
        "switched_off": (503, "Referrals are unavailable right now"),
        "failed": (500, "Internal Server Error"),
    }
)


class _Generate(Body):
    model_config = example(
        participant_id="user_123", campaign_id="550e8400-e29b-41d4-a716-446655440000"
    )

    participant_id: Name = doc("Your id of the participant.")
    campaign_id: Annotated[UUID, Field(strict=False)] = doc(
        "The campaign that the participant refers to."
    )


class _Convert(Body):
    model_config = example(code="ALEX2026", referred_session_id="sess_newuser_456")

    code: Name = doc("The referral code that the session came with.")
    referred_session_id: Name = doc(
        "Your id of the session. A session converts a code once."
    )


class _Generated(BaseModel):
    code: str = doc(
        "The participant's code; the same however often it is asked for.", "ALEX2026"
    )
    referral_url: str = doc(
        "The URL to share: the campaign's, with the code as `ref`.",
        "https://example.com/?ref=ALEX2026",
    )
    participant_id: str = doc("Whose code it is.", "user_123")
    created_at: datetime = doc(
        "When the code was made, in UTC.", "2026-09-21T13:46:40Z"
    )


class _Valid(BaseModel):
    valid: bool = doc("Always true; an unknown code answers 404.", example=True)
    code: str = doc("The code in use now; a former one leads to it.", "ALEX2026")
    referrer_id: str = doc("The participant whose code it is.", "user_123")
    campaign_id: UUID = doc(
        "The campaign it belongs to.", "550e8400-e29b-41d4-a716-446655440000"
    )


class _Converted(BaseModel):
    converted: bool = doc("Always true: the conversion is durable.", example=True)
    referrer_id: str | None = doc(
        "The participant who earns it; null while the edge cannot look codes up.",
        "user_123",
    )
    conversion_id: str = doc(
        "The id of the conversion, the same in every repeat.",
        "conv_8d2f6f0c4b0e5d3a9c1b7e6a5f4d3c2b",
    )


class _Stats(BaseModel):
    participant_id: str = doc("Whose figures these are.", "user_123")
    total_referrals: int = doc("Conversions and pending together.", 12)
    conversions: int = doc("Sessions that converted.", 8)
    pending: int = doc("Sessions that clicked and have not converted yet.", 4)
    referral_code: str | None = doc(
        "The participant's code; null if there is none.", "ALEX2026"
    )


class _Problem(BaseModel):
    detail: str = doc("What is wrong.", "participant_id is required")


def _parse_generate(request: RawRequest) -> Sequence[Draft]:
    wanted = read(_Generate, request.body)
    campaign, participant = wanted.campaign_id, wanted.participant_id
    return [
        Draft(
            kind=Kind.LINK,
            target=ByPartner(campaign, participant),
            dedupe=Dedupe.of("link", str(campaign), participant),
        )
    ]


def _judge_generate(outcome: Outcome) -> Draft | None:
    return outcome.draft if _link(outcome).is_provisional else None


def _answer_generate(outcome: Outcome) -> Reply:
    link, program = _link(outcome), outcome.program
    created_at = datetime.fromtimestamp(link.created_at / 1000, UTC)
    url = program.url if program and program.url else link.url
    return Reply.ok(
        code=link.code,
        referral_url=_referral_url(url, link.code),
        participant_id=link.partner_code,
        created_at=f"{created_at:%Y-%m-%dT%H:%M:%SZ}",
    )


def _link(outcome: Outcome) -> LinkRecord:
    # The directory went away between two questions: no code can be promised.
    if outcome.link is None:
        raise Refusal("overloaded")
    return outcome.link


def _referral_url(url: str, code: str) -> str:
    parts = urlsplit(url)
    query = f"{parts.query}&" if parts.query else ""
    return parts._replace(query=f"{query}ref={quote(code, safe='')}").geturl()


def _answer_validate(finding: Finding) -> Reply:
    link = finding.link
    if link is None or link.partner_code is None or link.program_uuid is None:
        raise Refusal("link_incomplete")
    return Reply.ok(
        valid=True,
        code=link.code,
        referrer_id=link.partner_code,
        campaign_id=str(link.program_uuid),
    )


def _parse_convert(request: RawRequest) -> Sequence[Draft]:
    wanted = read(_Convert, request.body)
    code, session = wanted.code, wanted.referred_session_id
    return [
        Draft(
            kind=Kind.LEAD,
            target=ByCode(code),
            dedupe=Dedupe.of("convert", code, session),
            session=session,
        )
    ]


def _answer_convert(outcome: Outcome) -> Reply:
    draft, link = outcome.draft, outcome.link
    code = draft.target.code if isinstance(draft.target, ByCode) else ""
    # The length keeps (ab, c) and (a, bc) apart.
    conversion = uuid5(_CONVERSIONS, f"{len(code)}:{code}:{draft.session}")
    return Reply.ok(
        converted=True,
        referrer_id=link.partner_code if link else None,
        conversion_id=f"conv_{conversion.hex}",
    )


def _answer_stats(finding: Finding) -> Reply:
    stats = finding.stats
    if stats is None:
        raise Refusal("partner_unknown")
    return Reply.ok(
        participant_id=stats.partner_code,
        total_referrals=stats.conversions + stats.pending,
        conversions=stats.conversions,
        pending=stats.pending,
        referral_code=stats.code,
    )


def _refuse(refusal: Refusal) -> Reply:
    status, words = _REFUSALS[refusal.code]
    detail = words.format(field=refusal.field, problem=refusal.problem)
    return Reply(status, {"detail": detail}, retry_headers(refusal, status))


_PREFIX: Final = "/api/v1/referrals"
_PUBLIC: Final = (Limit(name="bricqs.address", by="address", per_minute=100),)
_KEYED: Final = (
    *_PUBLIC,
    Limit(name="bricqs.key", by="key", per_minute=1000),
    Limit(name="bricqs.workspace", by="workspace", per_minute=200),
)

BRICQS: Final = Dialect(
    name="bricqs",
    prefix=_PREFIX,
    endpoints=(
        Endpoint(
            path=f"{_PREFIX}/generate",
            summary="The referral code of a participant in a campaign, made once",
            credential=Credential(header="x-api-key", scope="write"),
            limits=_KEYED,
            body=_Generate,
            reply=_Generated,
            refusals=("program_unknown", "partner_unknown"),
            parse=_parse_generate,
            judge=_judge_generate,
            answer=_answer_generate,
        ),
        Query(
            path=f"{_PREFIX}/validate/{{code}}",
            summary="Whose referral code this is",
            variables={"code": "The referral code to look up."},
            limits=_PUBLIC,
            reply=_Valid,
            refusals=("link_unknown", "link_inactive", "link_incomplete"),
            ask=lambda request: ByCode(request.path["code"]),
            answer=_answer_validate,
            from_browsers=True,
        ),
        Endpoint(
            path=f"{_PREFIX}/convert",
            summary="Record that a session with a referral code converted",
            limits=_PUBLIC,
            body=_Convert,
            reply=_Converted,
            refusals=("link_unknown", "link_inactive", "link_incomplete"),
            parse=_parse_convert,
            answer=_answer_convert,
            from_browsers=True,
            needs_partner=True,
        ),
        Query(
            path=f"{_PREFIX}/stats/{{participant_id}}",
            summary="What a participant's referrals came to",
            credential=Credential(header="x-api-key", scope="read"),
            variables={"participant_id": "Your id of the participant."},
            limits=_KEYED,
            reply=_Stats,
            refusals=("partner_unknown",),
            ask=lambda request: StatsOf(request.path["participant_id"]),
            answer=_answer_stats,
        ),
    ),
    refuse=_refuse,
    problem=_Problem,
    about=__doc__,
    usage_headers=usage_headers,
)
