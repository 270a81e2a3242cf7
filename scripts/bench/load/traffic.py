"""Clicks as Affitor's tracker sends them, by many browsers from many places.

Every click is of another visitor, as most real ones are.
"""

from collections.abc import Sequence
from typing import Final

import orjson

from scripts.demo.agents import agents

PATH: Final = "/api/v1/track/click"

#: A prime, so that it and the number of addresses have no divisor in common: the same
#: browser comes back from the same address after 130 million clicks only.
BODIES: Final = 997


def bodies(codes: Sequence[str]) -> list[bytes]:
    """Request bodies: the vendor's example, with the user agent that the tracker adds.

    Each link has its share. Addresses are a power of two, so any odd number does.
    """
    names = [name for name, _ in agents()]
    return [
        _body(number, names[number % len(names)], codes[number % len(codes)])
        for number in range(max(BODIES, len(codes) | 1))
    ]


def address(number: int) -> str:
    """A visitor's address, of 131,072 that RFC 2544 keeps for measurements."""
    return f"198.{18 + (number >> 16 & 1)}.{number >> 8 & 255}.{number & 255}"


def _body(number: int, user_agent: str, code: str) -> bytes:
    return orjson.dumps(
        {
            "affiliate_url": f"https://yoursite.com/pricing?aff={code}",
            "page_url": "https://yoursite.com/pricing",
            "page_title": "Pricing \u2014 YourSite",
            "referrer_url": f"https://blog.example.com/post/{number}",
            "session_id": f"sess_{number:06}",
            "screen_resolution": "1920x1080",
            "viewport_size": "1280x800",
            "language": "en-US",
            "timezone": "America/New_York",
            "user_agent": user_agent,
        }
    )
