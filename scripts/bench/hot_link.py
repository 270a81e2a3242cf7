"""`reftide bench hot-link`: all traffic on one link against the same over a thousand."""

import asyncio
from collections.abc import Sequence
from typing import Final

from ingest.contracts.directory import LinkRecord
from scripts.bench import options
from scripts.bench.environment.runs import Result, paired
from scripts.bench.environment.servers import SHARDS, Asked, prepared
from scripts.bench.load.recording import empty, recording_rate
from scripts.environment import Environment

_LINKS: Final = 1000


@options.measurement(
    options.pairs(5),
    options.events(60_000),
    options.number("workers", 4, "Worker processes.", most=64),
    epilog="""\b
  reftide bench hot-link --workers 4

\b
The streams are filled while the workers are stopped; what is timed is from when they
go on to the last commit.
""",
)
def hot_link(
    environment: Environment, *, pairs: int, events: int, workers: int
) -> Result:
    """Events/s with all traffic on one link, against a thousand links."""
    with prepared(environment, Asked(links=_LINKS)) as servers:

        def rate(links: Sequence[LinkRecord]) -> float:
            asyncio.run(empty(servers))
            return recording_rate(servers, links, events, workers)

        found = paired(
            lambda: rate(servers.links[:1]), lambda: rate(servers.links), pairs
        )
    conditions = {
        "baseline": f"the same clicks, spread over {_LINKS} links",
        "shards": SHARDS,
    }
    return Result(name="hot-link", unit="events/s", pairs=found, conditions=conditions)
