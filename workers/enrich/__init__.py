"""Enriches events: what can be known of a caller from what the edge saw.

An enricher is a pure function, given its data: the same caller gets the same answer, so an
event can be enriched again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Generic, TypeAlias, TypeVar

from msgspec.structs import replace

from ingest.contracts.envelope import Client
from ingest.contracts.metrics.worker import ENRICHERS_FAILED
from workers.enrich import bots, geo, referrer, user_agent
from workers.enrich.failures import Report, reporter
from workers.model.enrichment import Agent, Enrichment, Location

T = TypeVar("T")


#: Makes the enrichment of a caller; never raises.
Enrich: TypeAlias = Callable[[Client], Enrichment]


@dataclass(frozen=True, slots=True)
class Enricher(Generic[T]):
    """Answers one question about one part of what the edge saw.

    `answer` gets that part and what the enrichers before it know, and returns what is known
    then. Answers are kept and given to the next caller that sends the same.
    """

    name: str
    answer: Callable[[str | None, T], T]


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrichers:
    """The enrichers of each part, in the order in which they are asked."""

    #: Of the user agent.
    agent: Sequence[Enricher[Agent]] = ()
    #: Of the address.
    location: Sequence[Enricher[Location]] = ()
    #: Of the referrer; the answer is its host.
    referrer: Sequence[Enricher[str | None]] = ()


def _describe(text: str | None, _: Agent) -> Agent:
    return user_agent.describe(text)


def _unmask(text: str | None, agent: Agent) -> Agent:
    # A crawler that poses as a telephone is no telephone.
    return replace(agent, device="bot") if bots.is_bot(text) else agent


def _country(ip: str | None, _: Location) -> Location:
    return geo.country_of(ip)


def _host(url: str | None, _: str | None) -> str | None:
    return referrer.host_of(url)


#: The enrichers that need no configuration.
ENRICHERS: Final = Enrichers(
    agent=(Enricher("agent", _describe), Enricher("bots", _unmask)),
    location=(Enricher("geo", _country),),
    referrer=(Enricher("referrer", _host),),
)


def build_enrichers(geo_file: Path | None) -> Enrich:
    """Build the chain; a geo file adds region and city, and its own countries.

    An unreadable file does not stop the worker: it marks each event with "city", and the
    registries' country stays. Raises GeoLibraryMissingError if a file is configured and
    the library that reads it is not installed.
    """
    locate = ENRICHERS.location
    if geo_file is not None:
        locate = (*locate, _city(geo_file))
    enrich = chain(
        Enrichers(agent=ENRICHERS.agent, location=locate, referrer=ENRICHERS.referrer)
    )
    # Loads the parsers' data now (half a second), not while the first batch is held.
    enrich(Client(user_agent="Mozilla/5.0"))
    return enrich


def chain(enrichers: Enrichers) -> Enrich:
    """Ask each enricher in turn; one that raises marks the event, and the others go on.

    A failure is counted for each event and logged once per cause.
    """
    report = reporter()
    agent_of = _keeping(enrichers.agent, Agent(), report)
    location_of = _keeping(enrichers.location, Location(), report)
    host_of = _keeping(enrichers.referrer, None, report)
    whole = lru_cache(maxsize=user_agent.CACHE_SIZE)(_whole)

    def enrich(client: Client) -> Enrichment:
        found = whole(
            agent_of(client.user_agent),
            location_of(client.ip),
            host_of(client.referrer),
        )
        for name in found.failed or ():
            ENRICHERS_FAILED.labels(name).inc()
        return found

    return enrich


@dataclass(frozen=True, slots=True, eq=False)
class _Answer(Generic[T]):
    """What is known of one part, and the names of enrichers that failed.

    Hashed by identity: callers have few different answers and many events.
    """

    known: T
    failed: tuple[str, ...]


@lru_cache(maxsize=user_agent.CACHE_SIZE)
def _answer(known: Any, failed: tuple[str, ...]) -> _Answer[Any]:
    """The one answer that says this."""
    return _Answer(known, failed)


def _whole(
    agent: _Answer[Agent], location: _Answer[Location], host: _Answer[str | None]
) -> Enrichment:
    return Enrichment(
        agent=agent.known,
        location=location.known,
        referrer_host=host.known,
        failed=agent.failed + location.failed + host.failed or None,
    )


def _keeping(
    enrichers: Sequence[Enricher[T]], nothing: T, report: Report
) -> Callable[[str | None], _Answer[T]]:
    """Asks the enrichers about a text; keeps what they say of the last so many texts."""

    @lru_cache(maxsize=user_agent.CACHE_SIZE)
    def ask(text: str | None) -> _Answer[T]:
        known, failed = nothing, list[str]()
        for enricher in enrichers:
            try:
                known = enricher.answer(text, known)
            except Exception as error:  # noqa: BLE001 -- an event is worth more than its colours
                failed.append(enricher.name)
                report(enricher.name, error)
        return _answer(known, tuple(failed))

    return ask


def _city(geo_file: Path) -> Enricher[Location]:
    try:
        place_of = geo.open_places(geo_file)
    except geo.GeoFileError as error:
        return Enricher("city", _failing(str(error)))

    def answer(ip: str | None, known: Location) -> Location:
        found = place_of(ip)
        return found if found.country else replace(found, country=known.country)

    return Enricher("city", answer)


def _failing(message: str) -> Callable[[str | None, Location], Location]:
    def answer(_ip: str | None, _known: Location) -> Location:
        raise geo.GeoFileError(message)

    return answer
