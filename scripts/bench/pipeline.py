"""`reftide bench pipeline`: from request to row, against a rival that does the same.

Every request is answered when its event is durable, by either; see `rivals`. The processes,
the servers and the load share this machine, as they would share it in production but for
the load, which costs both the same.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final, Literal

from scripts.bench.environment.contenders import (
    Start,
    cores,
    fastapi,
    one_job_per_event,
    reftide,
)
from scripts.bench.environment.runs import Result, Tell, paired
from scripts.bench.environment.servers import BenchServers
from scripts.bench.load import traffic
from scripts.bench.load.batches import batches
from scripts.bench.load.end_to_end import Send, through
from scripts.bench.load.load import CONNECTIONS, Requests, choose

Rival = Literal["fastapi", "arq"]

_SAID: Final[dict[Rival, str]] = {
    "fastapi": "FastAPI, uvicorn with a process per core, asyncpg in the request",
    "arq": "aiohttp, an arq job per event, a worker per core on arq's defaults",
}


def measure(  # noqa: PLR0913 -- what a caller may choose
    servers: BenchServers,
    rival: Rival,
    *,
    pairs: int,
    seconds: float,
    edges: int,
    workers: int,
    batch: int,
    connections: int,
    tell: Tell,
) -> Result:
    """Events a second that are recorded, `pairs` times so many seconds of load each."""
    one = clicks(servers, connections)
    many = one if batch == 1 else batches(servers, batch, connections)
    single, ours = choose(one), choose(many)
    tell(f"load by {ours.name}")
    start = start_of(rival, edges)
    found = paired(
        partial(
            _rate,
            servers,
            reftide(edges, workers),
            ours.send,
            seconds,
            per_request=batch,
        ),
        partial(_rate, servers, start, single.send, seconds),
        pairs,
        tell,
    )
    conditions = {
        "baseline": _SAID[rival],
        "rival": rival,
        "edges": edges,
        "workers": workers,
        "events_per_request": batch,
        "load": ours.name,
        "connections": many.connections,
        "links": len(servers.links),
        "seconds": seconds,
        "cores": cores(),
    }
    return Result(name="pipeline", unit="events/s", pairs=found, conditions=conditions)


def clicks(servers: BenchServers, connections: int = CONNECTIONS) -> Requests:
    """Single clicks on the links of the servers."""
    return clicks_on(servers.codes, servers.data, connections)


def clicks_on(
    codes: Sequence[str], folder: Path, connections: int = CONNECTIONS
) -> Requests:
    """Single clicks on codes; the folder keeps their bodies."""
    file = folder / "bodies"
    file.write_bytes(b"".join(body + b"\n" for body in traffic.bodies(codes)))
    return Requests(traffic.PATH, file, at_once=connections)


def start_of(rival: Rival, edges: int) -> Start:
    return fastapi() if rival == "fastapi" else one_job_per_event(edges)


def _rate(
    servers: BenchServers,
    start: Start,
    send: Send,
    seconds: float,
    per_request: int = 1,
) -> float:
    return through(servers, start, send, seconds, per_request).rate
