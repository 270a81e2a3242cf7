"""Enrichment of clicks: device, location and referring host, from what the edge received.

An enricher is a pure function of its input and its data files, so an event can be enriched
again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from traceback import extract_tb
from typing import Final, Generic, TypeAlias, TypeVar

from msgspec.structs import replace

from ingest.contracts.envelope import Client
from ingest.contracts.metrics.worker import ENRICHERS_FAILED
from ingest.contracts.telemetry import Log
from workers.enrich import bots, geo, referrer, user_agent
from workers.model.enrichment import Agent, Enrichment, Location

T = TypeVar("T")

#: Enriches one client; never raises.
Enrich: TypeAlias = Callable[[Client], Enrichment]
#: Takes the name of an enricher that failed, and the error.
_Report: TypeAlias = Callable[[str, Exception], None]


@dataclass(frozen=True, slots=True)
class Enricher(Generic[T]):
    """One step of a chain for one header or address.

    `answer` takes the text and the result of the step before, and returns the new result.
    Results are cached by the text.
    """

    name: str
    answer: Callable[[str | None, T], T]


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrichers:
    """The chains by their input: user agent, IP address, referrer (its host)."""

    agent: Sequence[Enricher[Agent]] = ()
    location: Sequence[Enricher[Location]] = ()
    referrer: Sequence[Enricher[str | None]] = ()


def _unmask(text: str | None, agent: Agent) -> Agent:
    # A crawler that poses as a telephone is no telephone.
    return replace(agent, device="bot") if bots.is_bot(text) else agent


#: The enrichers that need no configuration.
ENRICHERS: Final = Enrichers(
    agent=(
        Enricher("agent", lambda text, _: user_agent.describe(text)),
        Enricher("bots", _unmask),
    ),
    location=(Enricher("geo", lambda ip, _: geo.country_of(ip)),),
    referrer=(Enricher("referrer", lambda url, _: referrer.host_of(url)),),
)


def build_enrichers(geo_file: Path | None) -> Enrich:
    """Build the chain; a geo file adds region and city, and overrides the country.

    A file that cannot be read, or without the library that reads it, does not stop the
    worker: each event is marked with "city", and keeps the registries' country.
    """
    locate = ENRICHERS.location
    if geo_file is not None:
        locate = (*locate, _city(geo_file))
    enrich = chain(
        Enrichers(agent=ENRICHERS.agent, location=locate, referrer=ENRICHERS.referrer)
    )
    # Load the parsers' data now (half a second), not while the first batch is held.
    enrich(Client(user_agent="Mozilla/5.0"))
    return enrich


def chain(enrichers: Enrichers) -> Enrich:
    """Call the enrichers in order. One that raises marks the event; the others go on.

    A failure is counted for each event and logged once per cause.
    """
    report = _reporter()
    agent_of = _cached(enrichers.agent, Agent(), report)
    location_of = _cached(enrichers.location, Location(), report)
    host_of = _cached(enrichers.referrer, None, report)
    combined = lru_cache(maxsize=user_agent.CACHE_SIZE)(_combined)

    def enrich(client: Client) -> Enrichment:
        found = combined(
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
    """A chain's result, and the names of its enrichers that failed.

    Hashed by identity: there are few different answers and many events.
    """

    known: T
    failed: tuple[str, ...]


#: The one answer for each result.
_answer: Final = lru_cache(maxsize=user_agent.CACHE_SIZE)(_Answer)


def _combined(
    agent: _Answer[Agent], location: _Answer[Location], host: _Answer[str | None]
) -> Enrichment:
    return Enrichment(
        agent=agent.known,
        location=location.known,
        referrer_host=host.known,
        failed=agent.failed + location.failed + host.failed or None,
    )


def _cached(
    enrichers: Sequence[Enricher[T]], nothing: T, report: _Report
) -> Callable[[str | None], _Answer[T]]:
    """The chain as one function of the text, with an LRU cache."""

    @lru_cache(maxsize=user_agent.CACHE_SIZE)
    def ask(text: str | None) -> _Answer[T]:
        known, failed = nothing, list[str]()
        for enricher in enrichers:
            try:
                known = enricher.answer(text, known)
            except Exception as error:  # noqa: BLE001 -- the event is recorded all the same
                failed.append(enricher.name)
                report(enricher.name, error)
        return _answer(known, tuple(failed))

    return ask


def _city(geo_file: Path) -> Enricher[Location]:
    try:
        place_of = geo.open_places(geo_file)
    except geo.GeoFileError as error:
        unreadable = str(error)

        def place_of(_ip: str | None) -> Location:
            raise geo.GeoFileError(unreadable)

    def answer(ip: str | None, known: Location) -> Location:
        found = place_of(ip)
        return found if found.country else replace(found, country=known.country)

    return Enricher("city", answer)


def _reporter() -> _Report:
    """Logs the failure of an enricher once per cause."""
    reported: set[tuple[str, str]] = set()

    def report(name: str, error: Exception) -> None:
        if isinstance(error, geo.GeoFileError):
            cause = str(error)
        else:
            # The place, not the message, which may quote what the caller sent.
            frame = extract_tb(error.__traceback__)[-1]
            where = f"{Path(frame.filename).name}:{frame.name}"
            cause = f"{type(error).__name__} in {where}"
        if (name, cause) not in reported:
            reported.add((name, cause))
            Log().warning("enricher.failed", enricher=name, error=cause)

    return report
