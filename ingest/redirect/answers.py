"""What visitors are answered: led on, shown an image, or told that there is nothing."""

from collections.abc import Mapping
from typing import Final

from ingest.core.browsers.first_party import COOKIE
from ingest.dialects.spec.requests import NOTHING, Value

Headers = tuple[tuple[str, str], ...]

_DAY_SECONDS: Final = 24 * 3600
_PRIVATE: Final[Headers] = (
    ("Cache-Control", "private, no-store"),
    ("Referrer-Policy", "no-referrer-when-downgrade"),
    ("X-Robots-Tag", "noindex"),
)
_ON: Final[Headers] = (("Content-Type", "text/plain; charset=utf-8"), *_PRIVATE)
_IMAGE: Final[Headers] = (("Content-Type", "image/gif"), *_PRIVATE)
_PAGE: Final[Headers] = (
    ("Content-Type", "text/html; charset=utf-8"),
    ("Cache-Control", "private, no-store"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Robots-Tag", "noindex"),
)
#: One transparent pixel.
_GIF: Final = bytes.fromhex(
    "47494638396101000100800000ffffff00000021f90401000000002c00000000010001000002024401003b"
)


class Answer(Value, frozen=True):
    """An answer, but for the headers that every answer has."""

    status: int
    #: Headers that answers of its kind share.
    usual: Headers
    own: Mapping[str, str] = NOTHING
    body: bytes = b""

    @property
    def headers(self) -> Mapping[str, str]:
        return {**dict(self.usual), **self.own}


def led_to(url: str, click_id: str | None = None, days: int = 0) -> Answer:
    """On to a URL of printable ASCII, with the click id in a cookie for so many days."""
    place = {"Location": url}
    return Answer(302, _ON, _with_cookie(place, click_id, days) if click_id else place)


def shown(click_id: str | None = None, days: int = 0) -> Answer:
    """The pixel, likewise."""
    own = _with_cookie({}, click_id, days) if click_id else NOTHING
    return Answer(200, _IMAGE, own, _GIF)


def _with_cookie(own: dict[str, str], click_id: str, days: int) -> Mapping[str, str]:
    # Without a domain it is of this host alone, and no other host can have set it for all.
    attributes = f"Max-Age={days * _DAY_SECONDS}; Path=/; SameSite=Lax; Secure"
    own["Set-Cookie"] = f"{COOKIE}={click_id}; {attributes}"
    return own


def _page(status: int, title: str, text: str, **more: str) -> Answer:
    body = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{title}</title>"
        "<style>body{font:1rem/1.5 system-ui;max-width:32rem;margin:4rem auto;"
        "padding:0 1rem}</style>"
        f"<h1>{title}</h1><p>{text}</p></html>"
    )
    return Answer(status, _PAGE, more, body.encode())


MISSING: Final = _page(
    404, "This link leads nowhere", "It may be mistyped, or it may have ended."
)
UNAVAILABLE: Final = _page(
    503,
    "Try again in a moment",
    "The link cannot be looked up now.",
    **{"Retry-After": "1"},
)
