"""The results of enrichment. Values only; None means unknown.

The fields of `Agent` and `Location` are columns of `events`, under the same names.
"""

from typing import Literal, TypeAlias

import msgspec

#: The class of device; `other` is a user agent that names no known device.
Device: TypeAlias = Literal[
    "desktop", "mobile", "tablet", "tv", "console", "bot", "other"
]


class Agent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a user agent states: texts of at most 64 characters.

    Versions are the major one only.
    """

    device: Device | None = None
    os: str | None = None
    os_version: str | None = None
    browser: str | None = None
    browser_version: str | None = None

    @property
    def is_bot(self) -> bool:
        return self.device == "bot"


class Location(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where an address is.

    `country` is ISO 3166-1 alpha-2; the region has at most 64 characters, the city 128.
    """

    country: str | None = None
    region: str | None = None
    city: str | None = None


class Enrichment(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The enrichment of one client. Every text can be stored in PostgreSQL.

    The referrer's host has at most 255 characters. `failed` names the enrichers that raised
    an error; None: none did.
    """

    agent: Agent = Agent()
    location: Location = Location()
    referrer_host: str | None = None
    failed: tuple[str, ...] | None = None
