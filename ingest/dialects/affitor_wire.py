"""Affitor's words: the bodies it is sent, what it answers, its errors.

The tracker fires and forgets: what it says beside
the link, the click id and the customer's key is taken where it is usable and dropped where
it is not.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field, WithJsonSchema

from ingest.contracts.clickid import PREFIX
from ingest.contracts.storable import NAME_CHARS, Json
from ingest.dialects.body import (
    Body,
    LenientObject,
    LenientText,
    example,
    says_something,
)
from ingest.dialects.fast_decoder import swift
from ingest.dialects.spec import NOTHING, Refusal, RefusalCode, Reply

_RETRY_AFTER: Final = 5  # seconds, where a refusal does not know better

_NOBODY: Final = "Customer not found. Provide a valid click_id or customer_key."
_KEPT: Final = "Customer status cannot be updated to lead. Current status: {problem}"
_BAD_KEY: Final = (401, "Invalid API token")
_PAUSED: Final = (503, "Tracking is temporarily unavailable")

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
    # No click id, or the tracker would keep it.
    "link_inactive": (200, "Referral link is inactive"),
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
    "switched_off": _PAUSED,
    "overloaded": _PAUSED,
    "failed": (500, "Click tracking failed"),
}


class _Event(Body):
    page_url: LenientText = None
    session_id: LenientText = None
    additional_data: LenientObject = None

    @property
    def extra(self) -> Mapping[str, Json]:
        return self.additional_data or {}

    @property
    def is_test(self) -> bool:
        return self.extra.get("test_mode") is True


class Click(_Event):
    """What the tracker tells of a click."""

    model_config = example(
        "affiliate_url",
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
    referrer_url: LenientText = None
    user_agent: LenientText = None
    existing_click_id: LenientText = None
    page_title: LenientText = None
    screen_resolution: LenientText = None
    viewport_size: LenientText = None
    language: LenientText = None
    timezone: LenientText = None

    @property
    def about(self) -> Mapping[str, str]:
        """What is told about the page and the browser, under its own names."""
        return {name: text for name in _ABOUT if (text := getattr(self, name))}


#: A click is what trackers tell most, and nearly always in texts alone.
read_click: Final = swift(
    Click, additional_data=None, extra=NOTHING, is_test=False, about=Click.about
)


class Lead(_Event):
    """What a tracker or a server tells of a lead."""

    model_config = example(
        "click_id",
        "customer_key",
        click_id="cust_42_1715000000000",
        customer_key="user_123",
        email="jane@example.com",
    )

    click_id: str | None = None
    customer_key: Annotated[str, Field(max_length=NAME_CHARS)] | None = None
    email: LenientText = None
    event_name: LenientText = None
    program_id: Annotated[
        Any, WithJsonSchema({"description": "a number; dropped where it is none"})
    ] = None

    @property
    def asked(self) -> Mapping[str, Json]:
        """What servers put into `additional_data` and trackers beside it."""
        return {
            "program_id": self.program_id,
            "event_name": self.event_name,
            **self.extra,
        }

    @property
    def customer(self) -> str | None:
        """The site's own name of its customer."""
        key = _said(self.customer_key)
        return None if key is None or key.startswith(PREFIX) else key

    @property
    def click(self) -> str | None:
        """The click id, which trackers of old call the customer's key."""
        key = None if self.customer else self.customer_key
        return _said(self.click_id) or _said(key)

    @property
    def identity(self) -> tuple[str, ...]:
        """Whose lead it is, by the request alone: the same whatever is away meanwhile."""
        if self.customer:
            return ("customer", self.customer)
        return ("click", self.click) if self.click else ()


def _said(given: str | None) -> str | None:
    return given if says_something(given) else None


class _TestEvent(BaseModel):
    event_id: int = Field(alias="eventId")
    program_id: int = Field(alias="programId")
    test_mode: bool


class _Tracked(BaseModel):
    success: bool
    message: str | None = None
    data: _TestEvent | None = None


class Clicked(_Tracked):
    """What a click is answered."""

    click_id: str | None = None
    partner_code: str | None = None
    cookie_window_days: int | None = None


class Led(_Tracked):
    """What a lead is answered."""

    provisional: bool | None = None


class Problem(BaseModel):
    """What a refusal says."""

    error: str


def refuse(refusal: Refusal) -> Reply:
    """A refusal in the vendor's flat body."""
    status, words = _REFUSALS[refusal.code]
    text = words.format(field=refusal.field, problem=refusal.problem).rstrip()
    if refusal.code == "link_inactive":
        return Reply(status, {"success": False, "message": text})
    if refusal.code == "failed" and refusal.field.endswith("/lead"):
        text = "Lead tracking failed"
    wait = _RETRY_AFTER if refusal.retry_after is None else refusal.retry_after
    headers = {"Retry-After": str(max(1, wait))} if status in {429, 503} else {}
    return Reply(status, {"error": text}, headers)
