"""Detects bots by their user agent, with the patterns of crawler-user-agents.

A brand inside the string proves nothing: the Instagram webview of a Pixel says
"Google/google", and its user is a person. A missing user agent is not a bot, since relays and
privacy tools send none.
"""

import re
from collections import defaultdict
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final

import orjson

from workers.enrich.user_agent import CACHE_SIZE, bounded

#: HTTP libraries and automation that the list lacks. Libraries name themselves first; the
#: anchor excludes apps that only mention one. CFNetwork, Dalvik and Dart are left out: the
#: apps of real users send them.
_LIBRARIES: Final = (
    r"^(?:node$|undici|Bun/|Deno/|node-superagent/"  # JavaScript outside a browser
    r"|Java/|Java-http-client/|ReactorNetty/|RestSharp/"
    r"|GuzzleHttp|PHP/|Symfony HttpClient|HTTP_Request2/"
    r"|Ruby|Faraday|rest-client/|http\.rb/|LWP::"
    r"|python-urllib3/|reqwest/|go-resty/|fasthttp|libcurl|aria2/|Microsoft-WinHTTP/"
    r"|PostmanRuntime/|insomnia/)"  # consoles in which an API is tried out
    r"|WinHttp\.WinHttpRequest|PowerShell/|Cypress/|[Ss]elenium|[Ww]eb[Dd]river"
)
#: Crawlers that no list has yet: a name that ends like this before a version, or a contact
#: address, which crawlers give and browsers do not. CUBOT is a make of telephones.
_CONVENTIONS: Final = r"(?i:(?<!cu)(?:bot|crawler|spider)/v?\d)|\+https?://"
#: Patterns of the list that match real users: React Native's `fetch` on Android sends a bare
#: "okhttp/4.9.2" with the clicks of an app.
_PEOPLE: Final = frozenset({"okhttp"})

_PLAIN_START = re.compile(r"[A-Za-z0-9](?![?*+{|])")


def is_bot(user_agent: str | None) -> bool:
    text = bounded(user_agent)
    return bool(text) and _is_bot(text)


@lru_cache(maxsize=CACHE_SIZE)
def _is_bot(text: str) -> bool:
    return any(pattern.search(text) for pattern in _patterns())


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    """Compile the whole list into two expressions.

    Alternatives that begin with the same letter share one branch: at each position the
    matcher then tries some sixty letters instead of fifteen hundred patterns.
    """
    by_letter: defaultdict[str, list[str]] = defaultdict(list)
    others = [_LIBRARIES, _CONVENTIONS]
    listed = files("crawleruseragents").joinpath("crawler-user-agents.json")
    patterns = {entry["pattern"] for entry in orjson.loads(listed.read_bytes())}
    for pattern in sorted(patterns - _PEOPLE):
        if _PLAIN_START.match(pattern) and "|" not in pattern:
            by_letter[pattern[0]].append(pattern[1:])
        else:
            others.append(pattern)
    branches = (f"{first}(?:{'|'.join(rest)})" for first, rest in by_letter.items())
    return re.compile("|".join(branches)), re.compile("|".join(others))
