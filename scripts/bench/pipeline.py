"""`reftide bench pipeline`: from request to row, against a rival that does the same."""

import asyncio
from collections.abc import Mapping
from typing import Final

import click

from scripts.bench import options
from scripts.bench.environment.processes import (
    Start,
    fastapi,
    one_job_per_event,
    reftide,
    require_fastapi,
)
from scripts.bench.environment.runs import Result, paired, tell
from scripts.bench.environment.servers import prepared
from scripts.bench.load.batches import add_key, batches
from scripts.bench.load.load import CONNECTIONS, choose, clicks
from scripts.bench.load.recording import through
from scripts.environment import Environment
from scripts.services.maintain.seed import WORKSPACE

_RIVALS: Final[Mapping[str, tuple[Start, str]]] = {
    "fastapi": (
        fastapi,
        "FastAPI, uvicorn with a process per core, asyncpg in the request",
    ),
    "arq": (
        one_job_per_event,
        "aiohttp, an arq job per event, a worker per core on arq's defaults",
    ),
}


@options.measurement(
    options.option(
        "against", click.Choice([*_RIVALS]), "fastapi", "The baseline.", "rival"
    ),
    options.number("batch", 1, "Events in a request to Reftide.", most=1000),
    options.pairs(5),
    options.seconds(5.0),
    options.number(
        "connections",
        CONNECTIONS,
        "Connections of the load, a request on each; of batches so many fewer, 8 at least.",
        least=2,
        most=10_000,
    ),
    options.EDGES,
    options.WORKERS,
    epilog="""\b
  reftide bench pipeline --against fastapi
  reftide bench pipeline --against arq
  reftide bench pipeline --batch 100

\b
Load lasts --seconds; a run lasts until every event that was answered with 200 is
committed. Either side has the machine to itself. `fastapi`: FastAPI on uvicorn, a
process per core, that writes the same rows with asyncpg and then answers. `arq`:
aiohttp that queues a job per event, and an arq worker per core on its defaults.
With --batch, Reftide gets so many events in a request; the baseline one, always.
""",
)
def pipeline(  # noqa: PLR0913 -- what a caller may choose
    environment: Environment,
    *,
    rival: str,
    batch: int,
    pairs: int,
    seconds: float,
    connections: int,
    edges: int,
    workers: int,
) -> Result:
    """Events/s from request to row, against a program that does the same."""
    start, said = _RIVALS[rival]
    if start is fastapi:
        require_fastapi()
    with prepared(environment) as servers:
        single = ours = choose(clicks(servers.codes, servers.data, connections))
        if batch > 1:
            key = asyncio.run(add_key(servers, WORKSPACE))
            ours = choose(batches(servers, servers.codes, batch, connections, key))
        tell(f"load by {ours.name}")
        found = paired(
            lambda: through(servers, reftide(edges, workers), ours, seconds).rate,
            lambda: through(servers, start, single, seconds).rate,
            pairs,
        )
    conditions = {
        "baseline": said,
        "events_per_request": batch,
        "load": ours.name,
        "connections": ours.what.connections,
        "links": len(servers.links),
    }
    return Result(name="pipeline", unit="events/s", pairs=found, conditions=conditions)
