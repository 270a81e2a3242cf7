"""What a redirect's request asks for: a code, on a host, with a query."""

import re
from functools import lru_cache
from typing import Final, Literal
from urllib.parse import unquote

from ingest.dialects.spec.requests import RawRequest, Value
from ingest.redirect.fixed import is_fixed

Kind = Literal["link", "pixel", "domain"]

#: By their kinds, as metrics call them.
PATHS: Final[dict[Kind, str]] = {
    "link": "/r/{code}",
    "pixel": "/p/{code}.gif",
    "domain": "/{code}",
}

_HOST: Final = re.compile(r"(?=.{1,259}\Z)([a-z0-9.-]{1,253})(:[0-9]{1,5})?")
_HOSTS_KEPT: Final = 4096
_GIF: Final = ".gif"


class WantedLink(Value, frozen=True):
    """What the target of a request names. The query is as it was written."""

    kind: Kind
    code: str
    query: str = ""


class LinkVisit(Value, frozen=True, kw_only=True):
    """One request. The domains that its host may mean are best first."""

    wanted: WantedLink
    domains: tuple[str, ...]
    #: With the caller's address and the headers.
    raw: RawRequest
    is_head: bool = False
    #: Whether its limits have admitted it.
    is_counted: bool = False

    @property
    def is_bot(self) -> bool:
        """Whether the visitor says so, by a parameter without which it would be counted."""
        query = self.wanted.query
        return "bot" in query and any(
            pair.partition("=")[0] == "bot" for pair in query.split("&")
        )


def wanted(target: str) -> WantedLink | None:
    """What a target such as `/r/alice?via=x` names; None: nothing that redirects lead to.

    A code of a domain is none that the edge itself has a path for. `/alice/` is `/alice`.
    """
    if not target.startswith("/"):
        return None
    path, _, query = target.partition("?")
    kind: Kind = "domain"
    code = path[1:]
    if path.startswith("/r/"):
        kind, code = "link", path[3:]
    elif path.startswith("/p/") and path.endswith(_GIF):
        kind, code = "pixel", path[3 : -len(_GIF)]
    code = unquote(code).removesuffix("/")
    if kind == "domain" and is_fixed(f"/{code}"):
        return None
    return WantedLink(kind, code, query)


@lru_cache(_HOSTS_KEPT)
def domains_of(host: str) -> tuple[str, ...]:
    """The domains that a Host header may mean: with its port, then without."""
    found = _HOST.fullmatch(host.strip().lower())
    if found is None:
        return ()
    name, port = found[1].removesuffix("."), found[2]
    return (name + port, name) if port else (name,)
