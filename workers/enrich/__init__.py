"""What can be known of a caller from what the edge saw.

Each enricher answers one question and is a plain function; the list in `build_enrichers`
is the documentation of their order. Given their data they are pure: the same caller gets
the same answer, so that an event can be enriched again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeAlias, TypedDict

import msgspec
from msgspec.structs import replace

from workers.enrich import bots, geo, referrer, user_agent
from workers.enrich.failures import Report, reporter


class ClientView(Protocol):
    """What the edge saw of a visitor: an envelope has it too, and need not be copied."""

    @property
    def user_agent(self) -> str | None: ...
    @property
    def ip(self) -> str | None: ...
    @property
    def referrer(self) -> str | None: ...


class ClientInfo(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the edge saw of the visitor, as sealed.

    `ip` is truncated already (IPv4 to /24, IPv6 to /48); `referrer` is a URL as sent.
    """

    user_agent: str | None
    ip: str | None
    referrer: str | None


class PartialEnrichment(TypedDict, total=False):
    """The part of an enrichment that one enricher knows."""

    device: user_agent.Device | None
    os: str | None
    os_version: str | None
    browser: str | None
    browser_version: str | None
    country: str | None
    country_source: geo.Source | None
    region: str | None
    city: str | None
    referrer_host: str | None
    is_bot: bool


class Enrichment(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is known of a caller; None is unknown. Every text can be stored in Postgres.

    Names have at most 64 characters, the city 128, the referrer's host 255. `country` is
    ISO 3166-1 alpha-2. `failed` names the enrichers that could not answer for an error.
    """

    device: user_agent.Device | None = None
    os: str | None = None
    os_version: str | None = None
    browser: str | None = None
    browser_version: str | None = None
    country: str | None = None
    country_source: geo.Source | None = None
    region: str | None = None
    city: str | None = None
    referrer_host: str | None = None
    is_bot: bool = False
    failed: tuple[str, ...] = ()


_NOBODY: Final = ClientInfo(user_agent=None, ip=None, referrer=None)

#: A part of what the edge saw.
Part: TypeAlias = Literal["user_agent", "ip", "referrer"]


@dataclass(frozen=True, slots=True)
class Enricher:
    """One question and who answers it. A later answer replaces an earlier one.

    `reads` is all that the answer depends on: it is then kept, and given to the next client
    that sends the same. None: asked for every client.
    """

    name: str
    answer: Callable[[ClientView], PartialEnrichment]
    reads: Part | None = None


#: From a caller to what is known of it; never raises.
Enrich: TypeAlias = Callable[[ClientView], Enrichment]


def _agent(client: ClientView) -> PartialEnrichment:
    seen = user_agent.describe(client.user_agent)
    return {
        "device": seen.device,
        "os": seen.os,
        "os_version": seen.os_version,
        "browser": seen.browser,
        "browser_version": seen.browser_version,
    }


def _geo(client: ClientView) -> PartialEnrichment:
    place = geo.country_of(client.ip)
    return {"country": place.country, "country_source": place.source}


def _referrer(client: ClientView) -> PartialEnrichment:
    return {"referrer_host": referrer.host_of(client.referrer)}


def _bots(client: ClientView) -> PartialEnrichment:
    # A crawler that poses as a telephone is no telephone.
    return {"is_bot": True, "device": "bot"} if bots.is_bot(client.user_agent) else {}


#: What answers without any configuration.
ENRICHERS = (
    Enricher("agent", _agent, "user_agent"),
    Enricher("geo", _geo, "ip"),
    Enricher("referrer", _referrer, "referrer"),
    Enricher("bots", _bots, "user_agent"),
)


def build_enrichers(geo_file: Path | None) -> Enrich:
    """Build the chain; a geo file adds region and city, and its own countries.

    An unreadable file does not stop the worker: it marks each event with "city", and the
    registries' country stays. Raises GeoLibraryMissingError if a file is configured and
    the library that reads it is not installed.
    """
    enrichers = ENRICHERS if geo_file is None else (*ENRICHERS, _city(geo_file))
    enrich = chain(enrichers)
    # Loads the parsers' data now (half a second), not while the first batch is held.
    enrich(ClientInfo(user_agent="Mozilla/5.0", ip=None, referrer=None))
    return enrich


def chain(enrichers: Sequence[Enricher]) -> Enrich:
    """Ask each enricher in turn; one that raises is marked, and logged once per cause.

    What depends on the user agent comes first, then what depends on the address, on the
    referrer, and on more than one of them.
    """
    report = reporter()

    def kept(part: Part) -> Callable[[str | None], _Answer]:
        asked = [enricher for enricher in enrichers if enricher.reads == part]
        return _keeping(part, asked, report)

    # By name, and not in a loop: this is done for every click.
    of_agent, of_ip, of_referrer = kept("user_agent"), kept("ip"), kept("referrer")
    others = [enricher for enricher in enrichers if enricher.reads is None]
    whole = lru_cache(maxsize=user_agent.CACHE_SIZE)(_whole)

    def enrich(client: ClientView) -> Enrichment:
        device, place = of_agent(client.user_agent), of_ip(client.ip)
        source = of_referrer(client.referrer)
        if others:
            return _whole(device, place, source, _ask(others, client, report))
        return whole(device, place, source)

    return enrich


@dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    """What is known of a part of a client, and the names of enrichers that failed.

    Hashed by which object it is: callers have few different answers and many events.
    """

    facts: tuple[tuple[str, Any], ...]
    failed: tuple[str, ...]


#: Gives the answer that there is already, where one says the same.
_answer: Final = lru_cache(maxsize=user_agent.CACHE_SIZE)(_Answer)


def _whole(*answers: _Answer) -> Enrichment:
    facts: dict[str, Any] = {}
    failed: tuple[str, ...] = ()
    for answer in answers:
        facts.update(answer.facts)
        failed += answer.failed
    return Enrichment(**facts, failed=failed)


def _keeping(
    part: Part, enrichers: Sequence[Enricher], report: Report
) -> Callable[[str | None], _Answer]:
    """What they say of a part of the client; of the last so many it is remembered."""

    @lru_cache(maxsize=user_agent.CACHE_SIZE)
    def answer(value: str | None) -> _Answer:
        return _ask(enrichers, replace(_NOBODY, **{part: value}), report)

    return answer


def _ask(enrichers: Sequence[Enricher], client: ClientView, report: Report) -> _Answer:
    facts: PartialEnrichment = {}
    failed: tuple[str, ...] = ()
    for enricher in enrichers:
        try:
            facts.update(enricher.answer(client))
        except Exception as error:  # noqa: BLE001 -- an event is worth more than its colours
            failed = (*failed, enricher.name)
            report(enricher.name, error)
    return _answer(tuple(facts.items()), failed)


def _city(geo_file: Path) -> Enricher:
    try:
        place_of = geo.open_places(geo_file)
    except geo.GeoFileError as error:
        return Enricher("city", _failing(str(error)))

    def answer(client: ClientView) -> PartialEnrichment:
        place = place_of(client.ip)
        facts: PartialEnrichment = {"region": place.region, "city": place.city}
        if place.country:
            facts["country"], facts["country_source"] = place.country, place.source
        return facts

    return Enricher("city", answer, "ip")


def _failing(message: str) -> Callable[[ClientView], PartialEnrichment]:
    def answer(_client: ClientView) -> PartialEnrichment:
        raise geo.GeoFileError(message)

    return answer
