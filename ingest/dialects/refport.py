"""Refport: leads that a customer's server reports, `POST /api/track/lead`.

The answers follow the vendor's page on Track Lead. Its SDK parses every answer as JSON
before it looks at the status, so every refusal is JSON too. Where the vendor says nothing:

- A customer has one lead of a name in a workspace, for good. A repeat is answered like the
  first. Names that differ only in case or white space are one name.
- `link` is null while the edge cannot look links up; a worker resolves it later.
- A click that is older than its attribution window is an INVALID_CLICK_ID.
"""

from collections.abc import Sequence
from typing import Final

from pydantic import BaseModel

from ingest.contracts.directory import LinkRecord
from ingest.contracts.envelope import Dedupe, Kind
from ingest.contracts.storable import Json
from ingest.dialects.body import Body, Metadata, Name, doc, example, maybe, read
from ingest.dialects.refusals import answers, retry_headers
from ingest.dialects.spec.events import ByClick, Draft, Outcome
from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.requests import RawRequest, Reply
from ingest.dialects.spec.routes import Credential, Dialect, Endpoint, Limit

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
        "failed": (500, "INTERNAL_ERROR", "Lead tracking failed"),
    }
)


class _Lead(Body):
    model_config = example(
        clickId="abc123",
        eventName="Sign Up",
        customerExternalId="user_001",
        customerEmail="alice@example.com",
        customerName="Alice",
        customerAvatar="https://example.com/avatar.png",
        metadata={"plan": "free"},
    )

    click_id: Name = doc(
        "The id of the click that brought the customer.", alias="clickId"
    )
    event_name: Name = doc(
        "What the customer did. A customer has one lead of a name.", alias="eventName"
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
        Draft(
            kind=Kind.LEAD,
            target=ByClick(lead.click_id),
            dedupe=Dedupe.of("lead", lead.external_id, name),
            name=lead.event_name,
            external_id=lead.external_id,
            customer_email=lead.email or None,
            customer_name=lead.name or None,
            customer_avatar=lead.avatar or None,
            properties=lead.metadata or {},
        )
    ]


def _answer(outcome: Outcome) -> Reply:
    draft, link = outcome.draft, outcome.link
    return Reply.ok(
        eventName=draft.name,
        click={"id": outcome.click_token},
        link=_link_of(link) if link else None,
        customer={
            "externalId": draft.external_id,
            "email": draft.customer_email,
            "name": draft.customer_name,
        },
    )


def _link_of(link: LinkRecord) -> Json:
    number = link.program_number
    return {
        "id": link.public_id,
        "domain": link.domain,
        "key": link.code,
        "url": link.url,
        "programId": None if number is None else f"prog_{number:03d}",
    }


def _refuse(refusal: Refusal) -> Reply:
    status, code, words = _REFUSALS[refusal.code]
    message = words.format(field=refusal.field, problem=refusal.problem)
    return Reply(
        status,
        {"error": {"code": code, "message": message}},
        retry_headers(refusal, status),
    )


REFPORT: Final = Dialect(
    name="refport",
    prefix="/api/track",
    endpoints=(
        Endpoint(
            path="/api/track/lead",
            summary="Record that a visitor whose click is known signed up",
            credential=Credential(scope="track"),
            limits=(Limit(name="refport.key", by="key", per_minute=600),),
            body=_Lead,
            reply=_Tracked,
            refusals=("click_unknown", "click_expired"),
            parse=_parse,
            answer=_answer,
        ),
    ),
    refuse=_refuse,
    problem=_Problem,
)
