"""Affitor: clicks of its browser tracker, `POST /api/v1/track/click`.

The link in `affiliate_url` is the only credential. The tracker fires and forgets: what it
says beside the link is taken where it is usable and dropped where it is not. Sources: the
vendor's pages on Track Click and on errors; where they are silent (malformed bodies, unknown
routes, overload, test events of no program), a refusal takes their flat error body.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field, WithJsonSchema

from ingest.contracts.envelope import Kind
from ingest.contracts.ids import test_event_number
from ingest.contracts.storable import Json
from ingest.dialects import weburl
from ingest.dialects.body import (
    Body,
    LenientObject,
    LenientText,
    example,
    lenient_integer,
    read,
)
from ingest.dialects.spec import (
    ByCode,
    ByProgram,
    Dialect,
    Draft,
    Endpoint,
    Outcome,
    RawRequest,
    Refusal,
    RefusalCode,
    Reply,
)

_COOKIE_WINDOW: Final = 60  # days, where the program cannot be asked
_RETRY_AFTER: Final = 5  # seconds, where a refusal does not know better

_NOBODY: Final = "Customer not found. Provide a valid click_id or customer_key."
_KEPT: Final = "Customer status cannot be updated to lead. Current status: {problem}"
_BAD_KEY: Final = (401, "Invalid API token")

#: What the tracker tells about the page and the browser, kept under its own names.
_ABOUT: Final = (
    "page_title",
    "screen_resolution",
    "viewport_size",
    "language",
    "timezone",
)

_REFUSALS: Final[Mapping[RefusalCode, tuple[int, str]]] = {
    "not_found": (404, "Not found"),
    "method_not_allowed": (405, "Method not allowed"),
    "body_too_large": (413, "Request body too large"),
    "encoding_unsupported": (415, "Unsupported content encoding"),
    "body_malformed": (400, "Invalid JSON body"),
    "field_missing": (400, "{field} is required {problem}"),
    "field_invalid": (400, "Invalid {field}"),
    "link_unparsable": (400, "Invalid affiliate_url"),
    "link_code_missing": (400, "No aff parameter found in affiliate_url"),
    "link_unknown": (400, "Referral link not found"),
    "link_incomplete": (400, "Invalid referral link configuration"),
    "program_unknown": (400, "Program not found"),
    "partner_unknown": (400, "Referral link not found"),
    "click_unknown": (400, _NOBODY),
    "click_expired": (400, _NOBODY),
    "customer_unknown": (400, _NOBODY),
    "customer_elsewhere": (400, "Customer does not belong to this program"),
    "customer_advanced": (400, _KEPT),
    "credential_missing": _BAD_KEY,
    "credential_malformed": _BAD_KEY,
    "unauthorised": _BAD_KEY,
    "forbidden": _BAD_KEY,
    "rate_limited": (429, "Too many requests"),
    "switched_off": (503, "Click tracking is temporarily unavailable"),
    "overloaded": (503, "Click tracking is temporarily unavailable"),
    "failed": (500, "Click tracking failed"),
}


class _Click(Body):
    model_config = example(
        affiliate_url="https://yoursite.com/pricing?aff=PARTNER123",
        page_url="https://yoursite.com/pricing",
        page_title="Pricing — YourSite",
        referrer_url="https://blog.example.com/post",
        session_id="sess_abc123",
        screen_resolution="1920x1080",
        viewport_size="1280x800",
        language="en-US",
        timezone="America/New_York",
    )

    affiliate_url: Annotated[
        Any,
        WithJsonSchema(
            {"type": "string", "description": "with `?aff=CODE`; unless it is a test"}
        ),
    ] = None
    page_url: LenientText = None
    referrer_url: LenientText = None
    user_agent: LenientText = None
    existing_click_id: LenientText = None
    page_title: LenientText = None
    session_id: LenientText = None
    screen_resolution: LenientText = None
    viewport_size: LenientText = None
    language: LenientText = None
    timezone: LenientText = None
    additional_data: LenientObject = None

    @property
    def extra(self) -> Mapping[str, Json]:
        return self.additional_data or {}

    @property
    def is_test(self) -> bool:
        return self.extra.get("test_mode") is True


class _TestEvent(BaseModel):
    event_id: int = Field(alias="eventId")
    program_id: int = Field(alias="programId")
    test_mode: bool


class _Tracked(BaseModel):
    success: bool
    click_id: str | None = None
    partner_code: str | None = None
    cookie_window_days: int | None = None
    message: str | None = None
    data: _TestEvent | None = None


class _Problem(BaseModel):
    error: str


def _parse(request: RawRequest) -> Sequence[Draft]:
    click = read(_Click, request.body)
    is_test = click.is_test
    return [
        Draft(
            kind=Kind.CLICK,
            target=_program(click.extra) if is_test else _link(click.affiliate_url),
            # A test event is nobody's click.
            existing_click=None if is_test else click.existing_click_id,
            session=click.session_id,
            user_agent=click.user_agent,
            referrer=click.referrer_url,
            page_url=click.page_url,
            is_test=is_test,
            properties=_properties(click),
        )
    ]


def _link(given: object) -> ByCode:
    if given is None or (isinstance(given, str) and not given.strip()):
        raise Refusal("field_missing", field="affiliate_url")
    if not isinstance(given, str):
        raise Refusal("field_invalid", field="affiliate_url")
    try:
        url = weburl.parse(given)
    except ValueError as error:
        raise Refusal("link_unparsable", field="affiliate_url") from error
    code = url.parameter("aff")
    if not code:
        raise Refusal("link_code_missing", field="affiliate_url")
    return ByCode(code, url.host)


def _program(extra: Mapping[str, Json]) -> ByProgram:
    number = lenient_integer(extra, "program_id")
    if number is None:
        raise Refusal("field_missing", field="program_id", problem="in test mode")
    return ByProgram(number)


def _properties(click: _Click) -> Mapping[str, Json]:
    told = {name: getattr(click, name) for name in _ABOUT}
    kept: dict[str, Json] = {name: text for name, text in told.items() if text}
    return {**kept, "additional_data": dict(click.extra)} if click.extra else kept


def _answer(outcome: Outcome) -> Reply:
    target, link = outcome.draft.target, outcome.link
    body: dict[str, Json] = {"success": True}
    if isinstance(target, ByProgram):
        body["message"] = "Test click event tracked successfully"
        event = test_event_number(outcome.event_id)
        body["data"] = {"eventId": event, "programId": target.number, "test_mode": True}
        return Reply(200, body)
    code = target.code if isinstance(target, ByCode) else None
    body["click_id"] = outcome.click_token
    body["partner_code"] = link.partner_code if link else code
    body["cookie_window_days"] = link.cookie_window_days if link else _COOKIE_WINDOW
    return Reply(200, body)


def _refuse(refusal: Refusal) -> Reply:
    if refusal.code == "link_inactive":
        # No click id, or the tracker would keep it.
        message = "Referral link is inactive"
        return Reply(200, {"success": False, "message": message})
    status, words = _REFUSALS[refusal.code]
    text = words.format(field=refusal.field, problem=refusal.problem).rstrip()
    wait = _RETRY_AFTER if refusal.retry_after is None else refusal.retry_after
    headers = {"Retry-After": str(max(1, wait))} if status in {429, 503} else {}
    return Reply(status, {"error": text}, headers)


AFFITOR: Final = Dialect(
    name="affitor",
    prefix="/api/v1/track",
    endpoints=(
        Endpoint(
            method="POST",
            path="/api/v1/track/click",
            summary="Record that a visitor followed a referral link",
            body=_Click,
            reply=_Tracked,
            refusals=(
                "link_unparsable",
                "link_code_missing",
                "link_unknown",
                "link_incomplete",
                "program_unknown",
            ),
            parse=_parse,
            answer=_answer,
            from_browsers=True,
            needs_partner=True,
        ),
    ),
    refuse=_refuse,
    problem=_Problem,
)
