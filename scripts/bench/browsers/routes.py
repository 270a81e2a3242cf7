"""`reftide bench routes`: what the routes for browsers cost the requests of all others."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import orjson
from redis import Redis

from ingest.contracts.stream import events_key
from scripts.bench import options
from scripts.bench.compare import probe
from scripts.bench.environment import usage
from scripts.bench.environment.processes import edges
from scripts.bench.environment.runs import Result, paired
from scripts.bench.environment.servers import SHARDS, BenchServers, prepared
from scripts.bench.load.load import Load, choose, clicks, costing
from scripts.environment import Environment
from scripts.errors import Unreachable

_BARE: Final = str(Path(__file__).with_name("bare.py"))
_WARM_SECONDS: Final = 1.0
#: The clicks that are traced come one at a time.
_TRACE_SECONDS: Final = 1.0
#: For Valkey to write out what the run before appended.
_SETTLE_MS: Final = 20_000


@options.measurement(
    options.pairs(11),
    options.seconds(3.0),
    options.number("connections", 64, "Of the load, a request on each.", most=10_000),
    epilog="""\b
  reftide bench routes
  reftide bench routes --pairs 21 --json

\b
Two edges run: one as it is, one without the tracker, redirects, pixel, scripts, and the
routes that vendors' clients and servers have beside those of 0.1.0. They get Affitor
clicks in turns. The figure is the edge's processor time for a click. The table has the
functions and modules of ours that a click passes, and the commands that it takes of
Redis, on both.
""",
)
def routes(
    environment: Environment, *, pairs: int, seconds: float, connections: int
) -> Result:
    """Processor time of a click on an edge, against an edge without the routes."""
    usage.require()
    with (
        prepared(environment) as servers,
        Redis.from_url(servers.environment.redis_url()) as redis,
    ):
        load = choose(clicks(servers.codes, servers.data, connections))
        one = choose(clicks(servers.codes, servers.data, 1))
        passed = [
            _passed(servers, redis, one, entry) for entry in (probe.__file__, _BARE)
        ]
        with edges(servers) as ours, edges(servers, words=("-P", _BARE)) as bare:
            for port, _ in (ours, bare):
                load.send(port, _WARM_SECONDS)
            taken = paired(
                partial(_cost, redis, load, ours, seconds),
                partial(_cost, redis, load, bare, seconds),
                pairs,
                " µs",
            )
    return Result(
        name="routes",
        unit="µs of the edge for a click",
        pairs=taken,
        digits=1,
        conditions={
            "baseline": "the same edge without the routes for browsers and clients",
            "load": load.name,
        },
        more={"passed": [_row(name, *passed) for name in passed[0]]},
    )


def _cost(
    redis: Redis, load: Load, edge: tuple[int, Sequence[int]], seconds: float
) -> float:
    """Microseconds of processor time that an edge takes for a click."""
    for shard in range(SHARDS):
        redis.xtrim(events_key(shard), maxlen=0, approximate=False)
    redis.execute_command("WAITAOF", 1, 0, _SETTLE_MS)  # type: ignore[no-untyped-call]
    port, pids = edge
    return costing(load, port, pids, seconds)[1]


def _passed(
    servers: BenchServers, redis: Redis, one: Load, entry: str
) -> Mapping[str, float]:
    """What a click passes on an edge that is started so, with the probe in it."""
    report = servers.data / "routes.json"
    with edges(servers, words=("-P", entry, str(report))) as (port, _):
        sent = one.send(port, _WARM_SECONDS).requests
        before, asked = _commands(redis), 0
        while sent + asked <= probe.TRACED_UNTIL or not asked:
            asked += one.send(port, _TRACE_SECONDS).requests
        commands = (_commands(redis) - before) / asked
    found: dict[str, Any] = orjson.loads(report.read_bytes())
    if not found["functions"]:
        raise Unreachable("No click passed the probe.", "see its ENTRANCES and SINKS.")
    return {
        "functions": found["functions"],
        "modules": found["modules"],
        "commands of Redis": round(commands, 2),
    }


def _commands(redis: Redis) -> int:
    """Commands that Redis has taken so far; those of scripts too."""
    counted: Any = redis.info("stats")
    return int(counted["total_commands_processed"])


def _row(
    name: str, ours: Mapping[str, float], bare: Mapping[str, float]
) -> dict[str, object]:
    return {"a click passes": name, "with": ours[name], "without": bare[name]}
