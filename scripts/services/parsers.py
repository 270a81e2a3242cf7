"""What may be a code, a URL, a domain, a key; and new public ids.

The same rules hold wherever a text may end up in an answer, a cookie or a redirect. Every
parser takes a text and raises ValueError, which says what is wrong with it.
"""

import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from math import log2
from string import ascii_lowercase, ascii_uppercase, digits, punctuation
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit
from uuid import UUID

import msgspec

from ingest.contracts.apikey import ANY_ORIGIN, LONGEST_KEY
from ingest.redirect.destination import NEVER, WEB, scheme_of
from ingest.redirect.fixed import is_fixed

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PUBLIC_CHARS: Final = 12
_LONGEST_CODE: Final = 190
_LONGEST_URL: Final = 2000
#: What JavaScript can count to; vendors' clients read the number as JSON.
_LARGEST_NUMBER: Final = 2**53 - 1
_SHORTEST_SECRET: Final = 8
#: Weeks of guessing at the rate that edges let anybody try.
_LEAST_BITS: Final = 45
_GUESSED_FIRST: Final = re.compile(
    r"pass(word|wort|wd)?|secret|qwert[yz]\w*|asdf\w*|letmein|welcome|admin|changeme"
    r"|iloveyou|0?123\d*|(.)\2{2,}",
    re.IGNORECASE,
)
_KINDS: Final = (ascii_lowercase, ascii_uppercase, digits, punctuation)
_PARAMETER: Final = re.compile(r"[A-Za-z0-9_-]{0,64}")
_LABEL: Final = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN: Final = re.compile(rf"(?=.{{1,253}}\Z)({_LABEL}\.)*{_LABEL}(:\d{{1,5}})?")
_SCHEME: Final = re.compile("[a-z][a-z0-9+.-]{0,30}")
#: Our proxy sends these and what is below them to the console: no edge sees a code like that.
CONSOLE_PATHS: Final = (
    "/console", "/control", "/links", "/partners", "/analytics", "/v1/links",
    "/v1/affiliates", "/api/tracking/events",
)  # fmt: skip
#: Browsers leave them out.
_USUAL_PORTS: Final = {"http": ":80", "https": ":443"}


def public_id(prefix: str) -> str:
    """A new id that vendors' answers show: 71 bits of chance behind a prefix."""
    return prefix + "".join(secrets.choice(_ALPHABET) for _ in range(_PUBLIC_CHARS))


def code(value: str) -> str:
    """A code, name or public id."""
    if not value or value != value.strip():
        raise ValueError(f"{value!r} is empty, or begins or ends with a space")
    if len(value) > _LONGEST_CODE:
        raise ValueError(f"it is longer than {_LONGEST_CODE} characters")
    if not value.isprintable():
        raise ValueError(f"{value!r} holds characters that cannot be printed")
    return value


def link_code(value: str) -> str:
    """A code as people type it from a poster: letters of any script, and no white space."""
    if any(map(str.isspace, value)):
        raise ValueError(f"{value!r} holds white space")
    if is_fixed(f"/{value}"):
        raise ValueError(f"{value!r} is a path of the edge itself: choose another code")
    below = f"/{value}/".lower()
    if any(below.startswith(f"{path}/") for path in CONSOLE_PATHS):
        raise ValueError(f"{value!r} is a path of the console: choose another code")
    return code(value)


def program_number(value: str) -> int:
    """A program's public number."""
    is_number = value.isascii() and value.isdigit() and len(value) <= _LONGEST_CODE
    if not (is_number and 1 <= int(value) <= _LARGEST_NUMBER):
        raise ValueError(
            f"{value!r} is no program's number: see `reftide programs list`"
        )
    return int(value)


def secret(value: str) -> str:
    """A key of another system. The error does not repeat it."""
    if len(value) < _SHORTEST_SECRET:
        raise ValueError(f"it has fewer than {_SHORTEST_SECRET} characters")
    if len(value) > LONGEST_KEY:
        raise ValueError(f"it has more than {LONGEST_KEY} characters")
    if not value.isascii() or not value.isprintable() or " " in value:
        # Clients send it in a header, whose ends and spaces are not theirs to keep.
        raise ValueError("it holds a space, or what is not printable ASCII")
    if _bits(value) < _LEAST_BITS:
        raise ValueError("it can be guessed: take a longer one, of letters and digits")
    return value


def _bits(secret: str) -> float:
    """How hard a secret is to guess, at most: the choices for each of its characters."""
    rest = _GUESSED_FIRST.sub("", secret)
    kinds = sum(len(kind) for kind in _KINDS if not set(rest).isdisjoint(kind))
    # Characters that come again and again add little.
    return min(len(rest), 2 * len(set(rest))) * log2(max(kinds, 1))


def destination(value: str) -> str:
    """Where a link may lead; its domain allows what is neither http nor https."""
    scheme = scheme_of(value)
    if not scheme or scheme in WEB:
        return url(value)
    if scheme in NEVER:
        raise ValueError(f"{value!r}: no link leads to {scheme}: write https://…")
    return _plain(value)


def fallback_url(value: str) -> str:
    """A URL, or nothing."""
    return url(value) if value else ""


def web_url(value: str) -> str:
    """A URL of http or https, or nothing."""
    if value and not url(value).startswith(("https://", "http://")):
        raise ValueError(f"{value!r} is no URL of http or https")
    return value


class _Discount(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    amount: Annotated[int, msgspec.Meta(ge=0)]
    type: Literal["percentage", "flat"]
    id: str = "disc_1"
    max_duration: int | None = None
    coupon_id: str | None = None
    coupon_test_id: str | None = None


def discount(value: str) -> str:
    """A discount as JSON, whole: what is not said is null; nothing is JSON's null."""
    try:
        said = msgspec.json.decode(value, type=_Discount) if value else None
    except (msgspec.DecodeError, ValueError) as error:
        raise ValueError(
            f"{value!r} is no discount ({error}): write"
            ' {"amount": 20, "type": "percentage", "maxDuration": 12}, or "flat"'
        ) from error
    return msgspec.json.encode(said).decode()


def schemes(value: str) -> tuple[str, ...]:
    """Schemes of URLs, separated by commas, besides http and https."""
    found = tuple(part.strip().lower() for part in value.split(",") if part.strip())
    for scheme in found:
        if scheme in NEVER or scheme in WEB or scheme_of(f"{scheme}:") != scheme:
            raise ValueError(
                f"{scheme!r} cannot be allowed: name schemes of apps, and mailto or tel"
            )
    return found


def end(value: str) -> str:
    """A moment as PostgreSQL reads it, in UTC if it names no zone; never is its infinity."""
    if value == "never":
        return "infinity"
    try:
        found = datetime.fromisoformat(value)
    except ValueError as error:
        raise ValueError(f"{value!r} is no date: write 2027-01-31, or never") from error
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).isoformat()


def parameter(value: str) -> str:
    """A name of a URL's parameter; empty: the usual one."""
    if not _PARAMETER.fullmatch(value):
        raise ValueError(f"{value!r} is no parameter: write letters, digits, - and _")
    return value


def url(value: str) -> str:
    """Where a web page is: nothing that browsers read otherwise."""
    _plain(value)
    try:
        parts = urlsplit(value)
    except ValueError as error:
        raise ValueError(f"{value!r} is no URL: {error}") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{value!r} must be a whole URL: https://…")
    if parts.username is not None:
        raise ValueError("it has a user name")
    return value


def _plain(value: str) -> str:
    if not value.isprintable() or " " in value or "\\" in value:
        raise ValueError(f"{value!r} holds a space, a backslash or worse")
    if len(value) > _LONGEST_URL:
        raise ValueError(f"a URL has at most {_LONGEST_URL} characters")
    return value


def origin(value: str) -> str:
    """From where a browser calls, as it says so in `Origin`; `*` stands for a subdomain."""
    scheme, _, host = value.lower().partition("://")
    bare = host.removeprefix("*.")
    if value != ANY_ORIGIN and not (
        _SCHEME.fullmatch(scheme) and _DOMAIN.fullmatch(bare)
    ):
        raise ValueError(
            f"{value!r} is no origin: write https://shop.example, or"
            " https://*.shop.example for its subdomains"
        )
    usual = _USUAL_PORTS.get(scheme, "")
    return value.lower().removesuffix(usual)


def domain(value: str) -> str:
    """A domain in small letters, with its port if it has one."""
    lower = value.lower()
    if not _DOMAIN.fullmatch(lower):
        raise ValueError(
            f"{value!r} is no domain: write go.example.com, without https://"
        )
    return lower


def whole(least: int, most: int) -> Callable[[str], int]:
    """A parser of whole numbers between two, both included."""

    def parse(value: str) -> int:
        digits = value.isascii() and value.isdigit() and len(value) <= len(str(most))
        if not (digits and least <= int(value) <= most):
            raise ValueError(f"{value!r} is no whole number from {least} to {most}")
        return int(value)

    return parse


def uuid(value: str) -> UUID:
    try:
        return UUID(value)
    except ValueError as error:
        raise ValueError(f"{value!r} is no UUID") from error
