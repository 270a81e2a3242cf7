"""Affitor's words: the bodies it is sent, what it answers, its errors.

The tracker fires and forgets: what it says beside
the link, the click id and the customer's key is taken where it is usable and dropped where
it is not.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from msgspec import DecodeError, Meta, Struct
from msgspec.json import Decoder
from pydantic import BaseModel, Field, WithJsonSchema

from ingest.contracts.clickid import PREFIX
from ingest.contracts.storable import AGENT_CHARS, NAME_CHARS, Json
from ingest.dialects.body import (
    Body,
    LenientObject,
    LenientText,
    doc,
    example,
    maybe,
    says_something,
)
from ingest.dialects.refusals import answers, retry_headers
from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.requests import Reply

_NOBODY: Final = "Customer not found. Provide a valid click_id or customer_key."
#: Of a sale; a lead whose click is unknown has an unknown customer.
_NO_BUYER: Final = "Customer not found. Provide customer_key or click_id."
_SOLD: Final = "Duplicate transaction_id. This sale has already been recorded."
_KEPT: Final = "Customer status cannot be updated to lead. Current status: {problem}"

#: More click ids than this of one lead are not looked at.
_CANDIDATES: Final = 8

_ABOUT: Final = (
    "page_title",
    "screen_resolution",
    "viewport_size",
    "language",
    "timezone",
)

#: What a bug is called by the last part of the path.
_EVENTS: Final = {"lead": "Lead", "sale": "Sale", "refund": "Refund"}

_REFUSALS: Final = answers(
    {
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
        "click_unknown": (400, _NO_BUYER),
        "customer_unknown": (400, _NOBODY),
        "customer_elsewhere": (400, "Customer does not belong to this program"),
        "customer_advanced": (400, _KEPT),
        "sale_known": (409, _SOLD),
        "sale_unknown": (404, "Sale not found for transaction_id"),
        "unauthorised": (401, "Invalid API token"),
        "rate_limited": (429, "Too many requests"),
        "switched_off": (503, "Tracking is temporarily unavailable"),
        "failed": (500, "Click tracking failed"),
    }
)


class Event(Body):
    """What all events may say."""

    page_url: LenientText = maybe(
        "The page that the visitor is on.", "https://yoursite.com/pricing"
    )
    session_id: LenientText = maybe(
        "The tracker's id of the visitor's session.", "sess_abc123"
    )
    additional_data: LenientObject = maybe(
        "Anything else about the event; it is stored with it. `test_mode: true` "
        "makes a test event, which is recorded and counts nothing; it needs a "
        "`program_id` here.",
        {"test_mode": True, "program_id": 7},
    )

    @property
    def extra(self) -> Mapping[str, Json]:
        return self.additional_data or {}

    @property
    def is_test(self) -> bool:
        mode = self.extra.get("test_mode")
        # Forms and templates write it as a text.
        return mode is True or (isinstance(mode, str) and mode.lower() == "true")


class _OfVisitor(Event):
    click_ids: Annotated[Any, WithJsonSchema({})] = maybe(
        "Click ids that the visitor has as well, for where the other one is unknown.",
        ["clk_AQGZ0mX7cAB-example"],
    )

    @property
    def candidates(self) -> tuple[str, ...]:
        """The click ids among which the tracker is not sure, a few of them."""
        given = self.click_ids if isinstance(self.click_ids, list) else []
        texts = (each for each in given[:_CANDIDATES] if isinstance(each, str))
        return tuple(filter(says_something, texts))


class ClickBody(_OfVisitor):
    """A click, as the tracker reports it."""

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

    affiliate_url: Annotated[Any, WithJsonSchema({"type": "string"})] = maybe(
        "The URL that the visitor arrived at. Its parameter `aff` is the link's "
        "code. A test event needs none."
    )
    referrer_url: LenientText = maybe("The page that the visitor came from.")
    user_agent: LenientText = maybe(
        "The visitor's browser, if the request's own `User-Agent` is another.",
        "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    )
    existing_click_id: LenientText = maybe(
        "The click id that the visitor already has, say in a cookie. If it is "
        "valid, the answer repeats it.",
        "clk_AQGZ0mX7cAB-example",
    )
    page_title: LenientText = maybe("The title of the page.")
    screen_resolution: LenientText = maybe("Width and height of the screen, in pixels.")
    viewport_size: LenientText = maybe(
        "Width and height of the browser's window, in pixels."
    )
    language: LenientText = maybe("The browser's language, as a BCP 47 tag.")
    timezone: LenientText = maybe("The browser's time zone, by its IANA name.")

    @property
    def existing(self) -> str | None:
        """The click id that the visitor already has."""
        ours = (each for each in self.candidates if each.startswith(PREFIX))
        return self.existing_click_id or next(ours, None)

    @property
    def about(self) -> dict[str, Json]:
        """What is told about the page and the browser, under its own names."""
        return {name: text for name in _ABOUT if (text := getattr(self, name))}


_Text = Annotated[str, Meta(min_length=1)]

#: Of a body this long each text can be stored whole, but for those that say so.
_PLAIN_BYTES: Final = 2048


class _About(Struct, frozen=True, gc=False, omit_defaults=True):
    """What a click tells about the page and the browser."""

    page_title: str | None = None
    screen_resolution: str | None = None
    viewport_size: str | None = None
    language: str | None = None
    timezone: str | None = None


_NO_ABOUT: Final = _About()


class PlainClick(
    Struct,
    frozen=True,
    gc=False,
    forbid_unknown_fields=True,
    rename={"session": "session_id", "referrer": "referrer_url"},
):
    """A click that has texts only, and no click id yet."""

    affiliate_url: str | None = None
    session: Annotated[_Text, Meta(max_length=NAME_CHARS)] | None = None
    user_agent: Annotated[_Text, Meta(max_length=AGENT_CHARS)] | None = None
    referrer: _Text | None = None
    page_url: _Text | None = None
    page_title: _Text | None = None
    screen_resolution: _Text | None = None
    viewport_size: _Text | None = None
    language: _Text | None = None
    timezone: _Text | None = None

    @property
    def properties(self) -> _About | None:
        """What is told about the page and the browser; None for nothing."""
        about = _About(
            self.page_title,
            self.screen_resolution,
            self.viewport_size,
            self.language,
            self.timezone,
        )
        return None if about == _NO_ABOUT else about


_PLAIN_CLICK: Final = Decoder(PlainClick)


def read_plain_click(body: bytes) -> PlainClick | None:
    """A click whose texts can be stored as they are; None for every other body."""
    # Without escapes JSON has no NUL, no control characters and no lone surrogates.
    if len(body) > _PLAIN_BYTES or b"\\" in body:
        return None
    try:
        return _PLAIN_CLICK.decode(body)
    except (DecodeError, ValueError):
        return None


class LeadBody(_OfVisitor):
    """A lead, as a tracker or a server reports it."""

    model_config = example(
        "click_id",
        "customer_key",
        click_id="cust_42_1715000000000",
        customer_key="user_123",
        email="jane@example.com",
    )

    click_id: str | None = maybe("The click id that the answer to the click gave.")
    customer_key: Annotated[str, Field(max_length=NAME_CHARS)] | None = maybe(
        "Your id of the customer. A customer has one lead in a workspace."
    )
    email: LenientText = maybe(
        "The customer's e-mail address. Only a keyed hash of it is stored."
    )
    event_name: LenientText = maybe("What the customer did.", "signup")
    program_id: Annotated[Any, WithJsonSchema({})] = maybe(
        "The number of the program that the click has to be of. It is checked if "
        "an API key comes along; what is no positive integer is ignored.",
        7,
    )

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
        key = said(self.customer_key)
        return None if key is None or key.startswith(PREFIX) else key

    @property
    def click(self) -> str | None:
        """The click id, which trackers of old call the customer's key."""
        key = None if self.customer else self.customer_key
        return said(self.click_id) or said(key) or next(iter(self.candidates), None)

    @property
    def identity(self) -> tuple[str, ...]:
        """Whose lead it is, by the request alone: the same whatever is away meanwhile."""
        if self.customer:
            return ("customer", self.customer)
        return ("click", self.click) if self.click else ()


def said(given: str | None) -> str | None:
    """The text, if it says something."""
    return given if says_something(given) else None


class _TestEvent(BaseModel):
    event_id: int = doc(
        "The number of the test event.", 359842711437312, alias="eventId"
    )
    program_id: int | None = doc(
        "The number of the program under test.", 7, alias="programId"
    )
    test_mode: bool = doc("Always true.", example=True)


class Tracked(BaseModel):
    """What all answers may say."""

    success: bool = doc(
        "Whether the event counts; false if the link is switched off.", example=True
    )
    message: str | None = maybe("What happened, in words.", "Lead tracked successfully")
    data: _TestEvent | None = maybe("The test event; only an answer to one has it.")


class Clicked(Tracked):
    """The answer to a click."""

    click_id: str | None = maybe(
        "The id that the visitor keeps, say in a cookie, and a lead names later.",
        "clk_AQGZ0mX7cAB-example",
    )
    partner_code: str | None = maybe(
        "The code of the partner whose link it is.", "PARTNER123"
    )
    cookie_window_days: int | None = maybe(
        "For how many days after the click a lead is attributed to it.", 60
    )


class Led(Tracked):
    """The answer to a lead."""

    provisional: bool | None = maybe(
        "True if the program takes leads from servers only: the lead counts when "
        "a server repeats it with an API key.",
        example=True,
    )


class Problem(BaseModel):
    """The body of a refusal."""

    error: str = doc("What is wrong.", "affiliate_url is required")


def refuse(refusal: Refusal) -> Reply:
    """A refusal in the vendor's flat body."""
    status, words = _REFUSALS[refusal.code]
    text = words.format(field=refusal.field, problem=refusal.problem).rstrip()
    if refusal.code == "link_inactive":
        return Reply(status, {"success": False, "message": text})
    if refusal.code == "failed":
        what = _EVENTS.get(refusal.field.rpartition("/")[2], "Click")
        text = f"{what} tracking failed"
    return Reply(status, {"error": text}, retry_headers(refusal, status))
