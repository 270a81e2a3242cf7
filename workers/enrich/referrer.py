"""Extracts the host of the referrer.

Only the host is stored, since paths and queries may contain names, searches and tokens.
"""

import re
from typing import Final
from urllib.parse import urlsplit

HOST_LIMIT: Final = 255
#: Characters that are parsed: more than scheme, user part and host need.
_URL_LIMIT: Final = 2048
#: `android-app://com.reddit.frontpage/` is what Chrome sends for a link opened in an app.
_SCHEMES: Final = frozenset({"http", "https", "android-app"})
# Letters of any script, since a host is stored as sent; the colon is for IPv6.
_HOST = re.compile(r"[\w.:-]*\w")


def host_of(referrer: str | None) -> str | None:
    """The host in lower case, without port, user part and `www.`; None if there is none.

    `www.` is removed because `www.example.com` and `example.com` are one source to operators.
    The host of an app is its package name. Punycode stays punycode, and Unicode stays Unicode.
    """
    if not referrer:
        return None
    try:
        url = urlsplit(referrer.strip()[:_URL_LIMIT])
        host = url.hostname if url.scheme in _SCHEMES else None
    except ValueError:  # unbalanced brackets, or characters that fold into "/" or "@"
        return None
    return _plain(host) if host else None


def _plain(host: str) -> str | None:
    bare = host.removesuffix(".")
    short = bare.removeprefix("www.")
    name = short if "." in short else bare
    return name if len(name) <= HOST_LIMIT and _HOST.fullmatch(name) else None
