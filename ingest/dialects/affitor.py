"""Affitor: clicks of its browser tracker, `POST /api/v1/track/click`.

The link in `affiliate_url` is the only credential. The tracker fires and forgets: what it
says beside the link is taken where it is usable and dropped where it is not. Sources: the
vendor's pages on Track Click and on errors; where they are silent (malformed bodies, unknown
routes, overload, test events of no program), a refusal takes their flat error body.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from ingest.contracts.envelope import Kind
from ingest.contracts.ids import test_event_number
from ingest.contracts.storable import Json
from ingest.dialects import weburl
from ingest.dialects.body import (
    json_object,
    lenient_integer,
    lenient_text,
    required_text,
)
from ingest.dialects.spec import (
    Access,
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

#: What the tracker tells about the page and the browser, kept under its own names.
_PROPERTIES: Final = (
    "page_title",
    "session_id",
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
    "click_unknown": (400, "Customer not found. Provide a valid click_id."),
    "click_expired": (400, "Customer not found. Provide a valid click_id."),
    "unauthorised": (401, "Invalid API token"),
    "rate_limited": (429, "Too many requests"),
    "switched_off": (503, "Click tracking is temporarily unavailable"),
    "overloaded": (503, "Click tracking is temporarily unavailable"),
    "failed": (500, "Click tracking failed"),
}


def _parse(request: RawRequest) -> Sequence[Draft]:
    body = json_object(request.body)
    sent = body.get("additional_data")
    extra = sent if isinstance(sent, dict) else {}
    is_test = extra.get("test_mode") is True
    return [
        Draft(
            kind=Kind.CLICK,
            target=_program(extra) if is_test else _link(body),
            # A test event is nobody's click.
            existing_click=None if is_test else lenient_text(body, "existing_click_id"),
            user_agent=lenient_text(body, "user_agent"),
            referrer=lenient_text(body, "referrer_url"),
            page_url=lenient_text(body, "page_url"),
            is_test=is_test,
            properties=_properties(body, extra),
        )
    ]


def _link(body: Mapping[str, Json]) -> ByCode:
    text = required_text(body, "affiliate_url")
    try:
        url = weburl.parse(text)
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


def _properties(
    body: Mapping[str, Json], extra: Mapping[str, Json]
) -> Mapping[str, Json]:
    texts = {name: lenient_text(body, name) for name in _PROPERTIES}
    kept: dict[str, Json] = {name: text for name, text in texts.items() if text}
    return {**kept, "additional_data": dict(extra)} if extra else kept


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
            access=Access.PUBLIC,
            parse=_parse,
            answer=_answer,
            from_browsers=True,
            needs_partner=True,
        ),
    ),
    refuse=_refuse,
)
