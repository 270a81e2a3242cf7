"""Parses user agents: class of device, operating system, browser.

Names are those of uap-core ("Chrome Mobile", "Mac OS X"); versions are the major one only.
The class of device has rules of its own, because uap-core has none.
"""

import re
from functools import cache, lru_cache
from typing import Final

from ua_parser import Parser, load_builtins
from ua_parser.regex import Resolver

from ingest.contracts import storable
from workers.model.enrichment import Agent, Device

#: Characters of a user agent that are parsed; the longest real ones have about 700.
USER_AGENT_LIMIT: Final = 1024
NAME_LIMIT: Final = 64
#: Strings in a cache: at most 20 MB of keys, and far more than an hour of traffic has.
CACHE_SIZE: Final = 20_000

_TV = re.compile(
    r"smart-?tv|\btv\b|appletv|hbbtv|googletv|web0s|netcast|bravia|roku|crkey"
    r"|\bAFT[A-Z]|tizen(?!.*mobile)",
    re.IGNORECASE,
)
_CONSOLE = re.compile("playstation|xbox|nintendo", re.IGNORECASE)
# "Tablet PC 2.0" is in every Internet Explorer on a Windows with pen support.
_TABLET = re.compile(r"ipad|tablet(?! pc)|playbook|\bsilk/(?!.*mobile)", re.IGNORECASE)
_ANDROID = re.compile("android", re.IGNORECASE)
# Dalvik is an Android app's own HTTP client; it never says "Mobile".
_HANDHELD = re.compile(
    "mobile|iphone|ipod|windows phone|blackberry|opera mini|kaios|dalvik"
    "|symbian|series ?[46]0",
    re.IGNORECASE,
)
_DESKTOP = re.compile("windows|macintosh|mac os x|x11|linux|cros", re.IGNORECASE)

#: The first pattern that matches names the device. An Android without "Mobile" is a tablet:
#: Google asks browsers to tell them apart so.
_DEVICES: Final[tuple[tuple[re.Pattern[str], Device], ...]] = (
    (_TV, "tv"),
    (_CONSOLE, "console"),
    (_TABLET, "tablet"),
    (_HANDHELD, "mobile"),
    (_ANDROID, "tablet"),
    (_DESKTOP, "desktop"),
)


def bounded(user_agent: str | None) -> str:
    """The part of a user agent that is parsed; empty if there is none."""
    return storable.text(user_agent.strip(), USER_AGENT_LIMIT) if user_agent else ""


def describe(user_agent: str | None) -> Agent:
    """Device, operating system and browser; all None for a missing user agent."""
    text = bounded(user_agent)
    return _describe(text) if text else Agent()


@lru_cache(maxsize=CACHE_SIZE)
def _describe(text: str) -> Agent:
    parsed = _parser().parse(text)
    system, browser = parsed.os, parsed.user_agent
    return Agent(
        device=device_class(text),
        os=_name(system.family if system else None),
        os_version=_name(system.major if system else None),
        browser=_name(browser.family if browser else None),
        browser_version=_name(browser.major if browser else None),
    )


def device_class(text: str) -> Device:
    """The class of device, by words that vendors put into their user agents."""
    classes = (device for pattern, device in _DEVICES if pattern.search(text))
    return next(classes, "other")


@cache
def _parser() -> Parser:
    # Name the Rust matcher: the default falls back to one that is forty times slower.
    return Parser(Resolver(load_builtins()))


def _name(value: str | None) -> str | None:
    return storable.optional_text(value, NAME_LIMIT)
