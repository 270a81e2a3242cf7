"""What browsers are told, and which requests are taken for the console's own."""

import hmac
from collections.abc import Iterable
from hashlib import sha256
from http import HTTPStatus
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
        " img-src 'self' data:; form-action 'self'; frame-ancestors 'none';"
        " require-trusted-types-for 'script'"
    ),
    # With `no-referrer` browsers would send `Origin: null` with forms.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
#: What `--open` answers to: a page elsewhere cannot have its own name lead here.
_OWN_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})

Networks = tuple[IPv4Network | IPv6Network, ...]


class Refused(Exception):
    """A request that is not served: the status, and what the page says."""

    def __init__(self, status: HTTPStatus, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.status = status
        self.what = what
        self.remedy = remedy


def missing() -> Refused:
    """The same for what is not there and for what is not theirs to see."""
    return Refused(
        HTTPStatus.NOT_FOUND, "There is nothing here.", "Choose a page above."
    )


def require_own_host(request: web.Request) -> None:
    """Raises Refused unless the request names this machine."""
    if urlsplit(f"//{request.host}").hostname not in _OWN_HOSTS:
        raise Refused(
            HTTPStatus.FORBIDDEN,
            "With --open the console answers on this machine only.",
            "Open it as http://localhost, or start it without --open and sign in.",
        )


def require_same_origin(request: web.Request) -> str:
    """The scheme of the page that sent a form. Raises Refused for a page of others.

    Browsers send `Origin` with every form, and `Sec-Fetch-Site` where the connection is
    safe from others.
    """
    origin = urlsplit(request.headers.get("Origin", ""))
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    if origin.netloc != request.host or site != "same-origin":
        raise Refused(
            HTTPStatus.FORBIDDEN,
            "The form came from another site.",
            "Use the forms of this console; a proxy in front must pass on Host.",
        )
    return origin.scheme


def form_token(secret: bytes, key: str) -> str:
    """What forms of a session carry: only who sees its pages knows it."""
    return hmac.new(secret, f"console form {key}".encode(), sha256).hexdigest()


def require_form_token(given: object, expected: str) -> None:
    """Raises Refused for a form of another session, or without a token."""
    if not (
        isinstance(given, str)
        and hmac.compare_digest(given.encode(), expected.encode())
    ):
        raise Refused(
            HTTPStatus.FORBIDDEN,
            "The form is of another session.",
            "Load its page again and send it from there.",
        )


def require_text(values: Iterable[str]) -> None:
    """Raises Refused for what PostgreSQL takes for no text."""
    if any("\0" in each or not _is_encodable(each) for each in values):
        raise Refused(
            HTTPStatus.BAD_REQUEST, "A text holds a NUL character or half a character."
        )


def _is_encodable(text: str) -> bool:
    return not any("\ud800" <= each <= "\udfff" for each in text)


def is_within(address: str | None, among: Networks) -> bool:
    """Whether an address belongs to one of the networks."""
    return address is not None and any(ip_address(address) in each for each in among)
