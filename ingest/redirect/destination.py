"""Where a redirect leads: the link's own URL, with what the visitor's URL said besides."""

import re
from collections.abc import Collection
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import quote, unquote_plus

WEB: Final = frozenset({"http", "https"})
#: What runs in the browser, or reads the visitor's machine, wherever it came from.
NEVER: Final = frozenset({"javascript", "data", "blob", "file", "vbscript"})
#: The name under which a destination is given the click id.
CLICK_PARAM: Final = "dub_id"

#: Characters of a visitor's query that are passed on; a parameter beyond is left out.
_QUERY_CHARS: Final = 2048
_URLS_KEPT: Final = 4096
#: What the encoding of hosts in Python maps to other letters: sharp s, final sigma, joiners.
_AMBIGUOUS: Final = frozenset("\u00df\u03c2\u200c\u200d")
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")
#: RFC 3986, 3.4, and what is escaped already; quotes and brackets are not for headers.
_IN_QUERY: Final = "!$&'()*+,;=:@/?%-._~"
_IN_URL: Final = f"{_IN_QUERY}#[]"


@lru_cache(_URLS_KEPT)
def scheme_of(url: str) -> str:
    """The scheme of a URL in small letters; empty if it has none."""
    found = _SCHEME.match(url)
    return found[1].lower() if found else ""


def may_lead(url: str, schemes: Collection[str] = ()) -> bool:
    """Whether a link may lead to a URL, on a domain that allows these schemes too."""
    scheme = scheme_of(url)
    return scheme in WEB or (scheme in schemes and scheme not in NEVER)


def destination(
    url: str, query: str = "", click_id: str | None = None, name: str = CLICK_PARAM
) -> str:
    """The URL with a visitor's parameters and the click id: printable ASCII, as one header.

    The URL's own parameters stay as they are; the visitor's are added unless the URL has
    one of that name, or it is the click id's. A URL of no web page stays as it is.
    """
    parts = _parts(url)
    if parts is None:
        return _escaped(url, _IN_URL)
    pairs = parts.pairs
    if query:
        pairs = (*pairs, *_added(query, parts.names | {name}))
    if click_id is not None:
        if name in parts.names:
            pairs = tuple(pair for pair in pairs if _name(pair) != name)
        pairs = (*pairs, f"{name}={click_id}")
    joined = f"?{'&'.join(pairs)}" if pairs else ""
    return f"{parts.before}{joined}{parts.behind}"


class _Parts(NamedTuple):
    """A web page's URL, escaped: its query's pairs and their names, what is around it."""

    before: str
    pairs: tuple[str, ...]
    names: frozenset[str]
    behind: str


@lru_cache(_URLS_KEPT)
def _parts(url: str) -> _Parts | None:
    if scheme_of(url) not in WEB:
        return None
    rest, sharp, fragment = url.partition("#")
    page, _, query = rest.partition("?")
    scheme, slashes, where = page.partition("//")
    host, slash, path = where.partition("/")
    before = f"{scheme}{slashes}{_in_ascii(host)}{slash}{path}"
    pairs = tuple(query.split("&")) if query else ()
    return _Parts(
        _escaped(before, _IN_URL),
        tuple(_escaped(pair, _IN_QUERY) for pair in pairs),
        frozenset(map(_name, pairs)),
        sharp + _escaped(fragment, _IN_QUERY),
    )


def _in_ascii(host: str) -> str:
    # Of letters that its encoding makes others of, browsers know better; they read escapes.
    if host.isascii() or not _AMBIGUOUS.isdisjoint(host):
        return host
    try:
        return host.encode("idna").decode()
    except UnicodeError:
        return host


def _added(query: str, taken: Collection[str]) -> list[str]:
    """The visitor's parameters whose names are not taken, as long as there is room."""
    room, found = _QUERY_CHARS, list[str]()
    for pair in query[: _QUERY_CHARS + 1].split("&"):
        room -= len(pair) + 1
        if pair and room >= -1 and _name(pair) not in taken:
            found.append(_escaped(pair, _IN_QUERY))
    return found


def _name(pair: str) -> str:
    return unquote_plus(pair.partition("=")[0])


def _escaped(text: str, safe: str) -> str:
    return quote(text, safe=safe, errors="surrogateescape")
