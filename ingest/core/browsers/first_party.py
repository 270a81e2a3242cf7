"""Pages of the edge's own site: they may send credentials, and get the click id in a cookie.

Browsers keep a cookie that a script writes for a week at most, and one of the site's server as
long as it says. So an edge on one of the operator's domains answers a page of the same site
with the cookie that the script would write. No route reads a cookie.
"""

import re
from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from ingest.dialects.spec.requests import Reply, Value

#: What the script calls it, too.
COOKIE: Final = "rt_id"

_OWN_SITE: Final = frozenset({"same-origin", "same-site"})
_HOST: Final = r"(?P<host>[a-z0-9_.-]{1,253})(?P<port>:[0-9]{1,5})?"
_ORIGIN: Final = re.compile(f"https?://{_HOST}")
_HOST_HEADER: Final = re.compile(_HOST)
_DAY_SECONDS: Final = 24 * 3600


class OwnPage(Value, frozen=True):
    """The origin of a page, and the host of the edge that it calls, both in lower case."""

    origin: str
    page_host: str
    host: str
    port: str

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains that the edge may be known by, best first."""
        return (f"{self.host}{self.port}", self.host) if self.port else (self.host,)


def own_page(headers: Mapping[str, str]) -> OwnPage | None:
    """The page of a request that a browser says to be of the edge's site; None for others."""
    if headers.get("sec-fetch-site") not in _OWN_SITE:
        return None
    origin = _ORIGIN.fullmatch(headers.get("origin", "").lower())
    called = _HOST_HEADER.fullmatch(headers.get("host", "").lower())
    if origin is None or called is None:
        return None
    return OwnPage(origin[0], origin["host"], called["host"], called["port"] or "")


def told_to(page: OwnPage, reply: Reply, *, keeps_cookie: bool) -> Reply:
    """A reply that the page may read though it sends credentials, with the cookie."""
    headers = {
        **reply.headers,
        "Access-Control-Allow-Origin": page.origin,
        "Access-Control-Allow-Credentials": "true",
        "Vary": "Origin",
    }
    body = reply.body if isinstance(reply.body, dict) else {}
    click_id, days = body.get("click_id"), body.get("cookie_window_days")
    if keeps_cookie and isinstance(click_id, str) and isinstance(days, int):
        domain = _shared_domain(page)
        where = f"Path=/; Domain={domain}" if domain else "Path=/"
        age = f"Max-Age={days * _DAY_SECONDS}"
        cookie = f"{COOKIE}={click_id}; {age}; {where}; SameSite=Lax; Secure"
        headers["Set-Cookie"] = cookie
    return replace(reply, headers=headers)


def _shared_domain(page: OwnPage) -> str | None:
    """The domain that page and edge have in common; None: the cookie is the edge's alone.

    The browser says that they are of one site, so it is no public suffix.
    """
    shared: list[str] = []
    pairs = zip(_labels(page.page_host), _labels(page.host), strict=False)
    for of_page, of_edge in pairs:
        if of_page != of_edge:
            break
        shared.insert(0, of_page)
    if shared[:1] == ["www"]:
        del shared[0]
    is_domain = len(shared) > 1 and not shared[-1].isdigit()
    return ".".join(shared) if is_domain else None


def _labels(host: str) -> list[str]:
    return host.split(".")[::-1]
