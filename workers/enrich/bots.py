"""Whether a user agent is a machine's.

The patterns are those of crawler-user-agents. It is judged by what the string is, never by
a brand inside it: the Instagram webview of a Pixel says "Google/google" and is a person.
A missing user agent is not a bot: it says nothing, and relays and privacy tools send none.
"""

import re
from collections import defaultdict
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final

import orjson

from workers.enrich.user_agent import CACHE_SIZE, bounded

#: HTTP libraries and automation that the list lacks. They name themselves first, so that
#: the anchor keeps out apps that merely mention one. Not here: CFNetwork, Dalvik and Dart,
#: which are what apps in people's hands send.
_LIBRARIES: Final = (
    r"^(?:node$|undici|Bun/|Deno/|node-superagent/"  # JavaScript outside a browser
    r"|Java/|Java-http-client/|ReactorNetty/|RestSharp/"
    r"|GuzzleHttp|PHP/|Symfony HttpClient|HTTP_Request2/"
    r"|Ruby|Faraday|rest-client/|http\.rb/|LWP::"
    r"|python-urllib3/|reqwest/|go-resty/|fasthttp|libcurl|aria2/|Microsoft-WinHTTP/"
    r"|PostmanRuntime/|insomnia/)"  # consoles in which an API is tried out
    r"|WinHttp\.WinHttpRequest|PowerShell/|Cypress/|[Ss]elenium|[Ww]eb[Dd]river"
)
#: Crawlers that no list has yet: a name ending so before a version, or the contact address
#: that crawlers give by convention and browsers never. CUBOT is a make of telephones.
_CONVENTIONS: Final = r"(?i:(?<!cu)(?:bot|crawler|spider)/v?\d)|\+https?://"
#: Patterns of the list that hit people: React Native's `fetch` on Android sends a bare
#: "okhttp/4.9.2", and that is how an app's clicks arrive.
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
    for pattern in _listed():
        if _PLAIN_START.match(pattern) and "|" not in pattern:
            by_letter[pattern[0]].append(pattern[1:])
        else:
            others.append(pattern)
    branches = (f"{first}(?:{'|'.join(rest)})" for first, rest in by_letter.items())
    return re.compile("|".join(branches)), re.compile("|".join(others))


def _listed() -> list[str]:
    listed = files("crawleruseragents").joinpath("crawler-user-agents.json")
    patterns: list[str] = [
        entry["pattern"] for entry in orjson.loads(listed.read_bytes())
    ]
    return [pattern for pattern in patterns if pattern not in _PEOPLE]
