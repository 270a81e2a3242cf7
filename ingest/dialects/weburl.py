"""Absolute URLs as browsers read them: what is one, its host, its query parameters.

Vendors check links with `new URL()`, which refuses less than
`urllib.parse` here and more there; this follows the WHATWG URL standard (url.spec.whatwg.org,
§3.5, §4.4 and §5.1) as far as a link's validity, host and query go.
"""

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Final
from unicodedata import normalize
from urllib.parse import unquote, unquote_plus

import msgspec

from ingest.contracts.storable import NAME_CHARS

#: Schemes whose URLs have a host, however many slashes of either kind precede it.
_WITH_HOST: Final = frozenset({"http", "https", "ws", "wss", "ftp"})

_C0_AND_SPACE: Final = "".join(map(chr, range(0x21)))
# What nearly all are, and what nothing below would change: a plain host in lower case whose
# last label is no number. Its length bounds how often the expression looks for that label.
_COMMON: Final = re.compile(
    r"https?://([a-z0-9.-]{0,253}\.[a-z]{2,63})"
    r"(?:/[^?#\\\0-\x20]*)?(?:\?([^#\0-\x20]*))?(?:#[^\0-\x20]*)?"
)
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*")
_HOST_AND_PORT: Final = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::([0-9]*))?")
_FORBIDDEN_IN_OPAQUE_HOST: Final = re.compile(r"[\0 #/<>?@\\^|]")
# U+FFFD is what undecodable bytes become, and no domain has one.
_FORBIDDEN_IN_DOMAIN: Final = re.compile("[\0-\x20#%/:<>?@\\[\\\\\\]^|\x7f\ufffd]")

_MAX_PORT: Final = 0xFFFF
_MAX_PORT_DIGITS: Final = 5
#: Characters of a domain, and of a label of it (RFC 1035). Python's IDNA takes time that
#: grows with the square of a label, and normalising makes 18 characters of some single ones.
_MAX_DOMAIN: Final = 253
_MAX_LABEL: Final = 63
_DOTS: Final = re.compile("[.\u3002\uff0e\uff61]")
#: How many characters a query or a host may write one character in: four bytes, three each.
_MAX_ESCAPED: Final = 12
_MAX_IPV4_PARTS: Final = 4
_MAX_BYTE: Final = 0xFF
_DECIMAL: Final = re.compile(r"[0-9]+")
_IPV4_NUMBER: Final = re.compile(
    r"0x(?P<hex>[0-9a-f]*)|0(?P<octal>[0-7]+)|(?P<decimal>0|[1-9][0-9]{0,9})"
)


class WebUrl(msgspec.Struct, frozen=True, gc=False):
    """The host in lower case, None where the scheme has none, and the query as written."""

    host: str | None
    query: str

    def parameter(self, name: str) -> str:
        """The first value under `name`, decoded like `URLSearchParams`; else empty.

        Of a value longer than any name it decodes so much that it stays longer.
        """
        key, _, value = self.query.partition("=")
        if key == name and value.isalnum():  # as nearly always
            return value
        found = _parameter(name).search(f"&{self.query}")
        value = (found and found[1]) or ""
        return unquote_plus(value[: _MAX_ESCAPED * (NAME_CHARS + 1)])


@lru_cache
def _parameter(name: str) -> re.Pattern[str]:
    """Matches a parameter, whichever characters of its name are escaped; [1] is its value."""
    written = (f"(?:{re.escape(each)}|{_escaped(each)})" for each in name)
    return re.compile(f"&{''.join(written)}(?![^&=])(?:=([^&]*))?")


def _escaped(character: str) -> str:
    escaped = "".join(f"%{byte:02x}" for byte in character.encode())
    return f"(?i:{escaped})"


def parse(text: str) -> WebUrl:
    """Read an absolute URL; raises ValueError for what `new URL()` refuses.

    More lenient in two corners: the host of a `file:` URL is not looked at, and of an
    international domain neither Punycode nor what Python's IDNA cannot encode is checked.
    Stricter in one: a host longer than any domain has no escapes.
    """
    common = _COMMON.fullmatch(text)
    if common is not None:
        return WebUrl(common[1], common[2] or "")
    text = text.strip(_C0_AND_SPACE)
    for each in "\t\n\r":  # as fast as one expression is slow
        text = text.replace(each, "")
    scheme, colon, rest = text.partition(":")
    if not colon or not _SCHEME.fullmatch(scheme):
        raise ValueError("no scheme")
    before, _, query = rest.partition("#")[0].partition("?")
    if scheme.lower() in _WITH_HOST:
        authority = before.replace("\\", "/").lstrip("/").partition("/")[0]
        return WebUrl(_domain(_host_text(authority)), query)
    if before.startswith("//") and scheme.lower() != "file":
        authority = before[2:].partition("/")[0]
        return WebUrl(_opaque(_host_text(authority) if authority else ""), query)
    return WebUrl(None, query)


def _host_text(authority: str) -> str:
    """The host between the credentials and the port, unread."""
    found = _HOST_AND_PORT.fullmatch(authority.rpartition("@")[2])
    if found is None or not found[1]:
        raise ValueError("no host, or no port where one should be")
    port = (found[2] or "").lstrip("0")
    if len(port) > _MAX_PORT_DIGITS or int(port or 0) > _MAX_PORT:
        raise ValueError("a port beyond 65535")
    return found[1]


def _opaque(host: str) -> str | None:
    if host.startswith("["):
        return _ipv6(host)
    if _FORBIDDEN_IN_OPAQUE_HOST.search(host):
        raise ValueError("a character that no host has")
    return host.lower() or None


def _domain(host: str) -> str:
    if host.startswith("["):
        return _ipv6(host)
    if len(host) <= _MAX_ESCAPED * _MAX_DOMAIN:
        host = _to_ascii(unquote(host, errors="replace"))
    host = host.lower()
    if not host or _FORBIDDEN_IN_DOMAIN.search(host):
        raise ValueError("a character that no domain has")
    labels = host.removesuffix(".").split(".")
    if _DECIMAL.fullmatch(labels[-1]) or _ipv4_number(labels[-1]) is not None:
        return _ipv4(labels)
    return host


def _to_ascii(host: str) -> str:
    if host.isascii() or not _may_be_domain(host):
        return host
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        return host


def _may_be_domain(host: str) -> bool:
    """Whether a host is no longer than a domain, before it is normalised and after."""
    if len(host) > _MAX_DOMAIN:
        return False
    normal = normalize("NFKC", host.casefold())
    labels = _DOTS.split(normal)
    return len(normal) <= _MAX_DOMAIN and max(map(len, labels)) <= _MAX_LABEL


def _ipv6(host: str) -> str:
    # Python reads a zone, `fe80::1%eth0`; a URL has none.
    if "%" in host:
        raise ValueError("an address with a zone")
    return f"[{IPv6Address(host[1:-1]).compressed}]"


def _ipv4(parts: list[str]) -> str:
    """An address of one to four numbers, of which the last fills what is left."""
    few = parts[:_MAX_IPV4_PARTS]
    numbers = [number for number in map(_ipv4_number, few) if number is not None]
    if len(numbers) != len(parts):
        raise ValueError("a host that ends in a number and is no address")
    *heads, last = numbers
    if max(heads, default=0) > _MAX_BYTE or last >= 256 ** (5 - len(parts)):
        raise ValueError("a number too great for its place in the address")
    value = sum(head << (24 - 8 * place) for place, head in enumerate(heads))
    return str(IPv4Address(value + last))


def _ipv4_number(part: str) -> int | None:
    """A decimal, octal (0…) or hexadecimal (0x…) number; None for any other text."""
    found = _IPV4_NUMBER.fullmatch(part)
    if found is None:
        return None
    if found["decimal"] is not None:
        return int(found["decimal"])
    return int(found["hex"] or "0", 16) if found["octal"] is None else int(found[0], 8)
