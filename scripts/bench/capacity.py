"""`reftide bench capacity`: what so many events a second need, from what one event cost.

Arithmetic over the document of `bench cost`. Beyond the machine that was measured it is a
simulation, and as good as its assumptions: docs/performance.md lists them. One PostgreSQL
writes, and streams are on one Redis or on nodes of their own: what these cannot do is said to
be too much.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, inf
from random import Random
from typing import Any, Final

import click
import orjson

from ingest.contracts.variables import DEFAULT_SHARDS, DEFAULT_SHARDS_APART
from scripts.bench import options
from scripts.errors import UsageProblem
from scripts.output import emit, facts, json_option, table
from workers.postgres.database import pool_size

_MILLION: Final = 1e6
_GB: Final = 1e9
_MB_IN_GB: Final = 1000
_HOUR: Final = 3600
_DAY: Final = 86_400
#: Of the simulation: its step, its length, and the outage that it begins with, in seconds.
_STEP: Final = 0.02
_MINUTES: Final = 5
_OUTAGE: Final = 600.0
#: Every ten seconds there comes twice as much for one second.
_BURST_EVERY: Final = 10.0
_BURST: Final = 2.0
#: What a batch takes besides its events: reads, commits and acknowledgements on the way.
_ROUND_TRIPS: Final = 0.02
#: What a worker that keeps up lets pass between two reads, so that events come together.
_GATHERING: Final = 0.05
#: From which share of Redis' memory on edges keep events on their disks.
_FULL: Final = 0.8
#: What grows with the events, indexes included. Counters are updated in place: the room
#: that they take in a short run is not taken again.
_GROWING: Final = ("Postgres: events", "Postgres: customers")
#: Events a second in the table.
RATES: Final = (100, 1_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What an event was measured to cost: bytes, and seconds of a core.

    `edge_mb` and `worker_mb` are the memory of a process under full load.
    """

    redis_bytes: float
    postgres_bytes: float
    wal_bytes: float
    edge: float
    worker: float
    valkey: float
    postgres: float
    edge_mb: float
    worker_mb: float

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Costs":
        """From `bench cost --json`. Raises KeyError where it is another document."""
        sizes = document["bytes_per_event"]
        spent = document["cpu_seconds_per_million_events"]
        memory = {row["process"]: row["at_saturation"] for row in document["memory_mb"]}
        return cls(
            redis_bytes=sizes["Redis: all keys"],
            postgres_bytes=sum(
                size for name, size in sizes.items() if name.startswith(_GROWING)
            ),
            wal_bytes=sizes["Postgres: written ahead (WAL)"],
            edge=spent["edge"] / _MILLION,
            worker=spent["worker"] / _MILLION,
            valkey=spent["Valkey"] / _MILLION,
            postgres=spent["PostgreSQL"] / _MILLION,
            edge_mb=memory["edge"],
            worker_mb=memory["worker"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """What was not measured with the costs; see the options."""

    busy: float = 0.6
    efficiency: float = 0.85
    database_cores: int = 32
    wal_mb: float = 400.0
    redis_gb: float = 64.0
    nodes: int = 1
    replicas: int = 1
    leads: float = 0.05
    lead_cost: float = 2.5
    lead_bytes: int = 420
    customer_bytes: int = 121

    @property
    def weight(self) -> float:
        """Of recording an event, in clicks: some are leads."""
        return 1 + self.leads * (self.lead_cost - 1)

    @property
    def writers(self) -> int:
        """PostgreSQL, the nodes of streams, and the Redis of all else if that is none of them."""
        return 1 + self.nodes + (self.nodes > 1)

    @property
    def least_shards(self) -> int:
        return DEFAULT_SHARDS if self.nodes == 1 else DEFAULT_SHARDS_APART


_USUAL: Final = Assumptions()
_TABLES: Final = {
    "What so many events a second need": (
        "too_much", "edges", "workers", "shards", "valkey_cores", "database_cores", "servers",
        "postgres_connections", "process_gb",
    ),
    "What they keep": (
        "redis_gb_per_hour_of_outage", "hours_without_postgres", "redis_gb_per_day_of_customers",
        "postgres_gb_per_day", "wal_mb_per_second", "replication_mb_per_second",
    ),
    "How late they are": ("lag_p99_seconds", "catch_up_minutes"),
}  # fmt: skip


def _assumed(name: str, kind: click.ParamType[Any], said: str) -> Callable[[Any], Any]:
    """An option for one of `Assumptions`, with what is usual as its default."""
    return options.option(name.replace("_", "-"), kind, getattr(_USUAL, name), said)


@click.command(
    epilog="""\b
  reftide bench cost --json > cost.json
  reftide bench capacity --json-from cost.json --rates 1000,100000

\b
Counts what was measured for one event up to so many a second, and simulates bursts and
an outage of Postgres of ten minutes. Nothing is measured. The output says what is
assumed; the options change it. `too_much` names the servers that cannot do it, and how
much of what they can do it is. Cores and memory of Valkey are those of each node.
"""
)
@click.option(
    "--json-from",
    "file",
    type=click.File("rb"),
    required=True,
    metavar="FILE",
    help="What `reftide bench cost --json` said; - for standard input.",
)
@options.option(
    "rates", options.NUMBERS, ",".join(map(str, RATES)), "Events a second, by commas."
)
@_assumed("busy", click.FloatRange(0.05, 1), "How busy a core may be.")
@_assumed(
    "efficiency",
    click.FloatRange(0.05, 1),
    "What each of many processes does of what one alone does.",
)
@_assumed("database_cores", click.IntRange(1, 1024), "Of PostgreSQL at most.")
@_assumed("wal_mb", click.FloatRange(1), "MB/s that PostgreSQL can write ahead.")
@_assumed("redis_gb", click.FloatRange(0.1), "Memory of Redis, of each node.")
@_assumed("nodes", click.IntRange(1, 1024), "Servers that share the streams.")
@_assumed("replicas", click.IntRange(0, 16), "Of Redis, and of PostgreSQL.")
@_assumed("leads", click.FloatRange(0, 1), "The share of first leads of new customers.")
@_assumed("lead_cost", click.FloatRange(1, 100), "What recording one costs, in clicks.")
@_assumed("customer_bytes", click.IntRange(0), "What Redis keeps of a customer.")
@_assumed("lead_bytes", click.IntRange(0), "Keys in Redis of one, besides its event.")
@json_option
def capacity(
    file: Any, rates: tuple[int, ...], *, as_json: bool, **assumed: Any
) -> None:
    """What so many events a second need, from what one was measured to cost."""
    try:
        costs = Costs.of(orjson.loads(file.read()))
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise UsageProblem(
            f"{file.name} is not what `reftide bench cost --json` says: {error}",
            "run `reftide bench cost --json > cost.json` and name that file.",
        ) from error
    chosen = Assumptions(**assumed)
    needs = [need(costs, chosen, rate) for rate in rates]
    document = {"costs": costs, "assumptions": assumed, "needs": needs}

    def for_people() -> None:
        for title, columns in _TABLES.items():
            table(needs, ["events_per_second", *columns], title)
        facts(assumed, "Assumed")
        sys.stdout.write("What else is assumed: docs/performance.md, Capacity.\n")

    emit(as_json, document, for_people)


def need(costs: Costs, assumed: Assumptions, rate: int) -> dict[str, Any]:
    """What so many events a second need, and how it behaves then.

    `too_much` is what the nodes and one PostgreSQL cannot do; then there is no lag to tell of.
    Lag and catching up are of bursts, and of ten minutes without PostgreSQL.
    """
    weight, replicas = assumed.weight, assumed.replicas
    workers = _processes(rate * costs.worker * weight, assumed)
    edges = _processes(rate * costs.edge, assumed)
    shards = max(assumed.least_shards, workers, assumed.nodes)
    cores = max(1, ceil(rate * costs.postgres * weight / assumed.busy))
    wal = rate * costs.wal_bytes * weight / _MILLION
    stream = rate * (costs.redis_bytes + assumed.leads * assumed.lead_bytes)
    stream /= assumed.nodes
    room = assumed.redis_gb * _GB * _FULL
    too_much = _too_much(costs, assumed, rate)
    lag, catch_up = (None, None)
    if not too_much:
        lag, catch_up = simulate(rate, _recorded(costs, assumed, workers, cores))
    return {
        "events_per_second": rate,
        "too_much": ", ".join(too_much) or None,
        "edges": edges,
        "workers": workers,
        "shards": shards,
        "valkey_cores": round(rate * costs.valkey / assumed.nodes, 2),
        "database_cores": cores,
        "servers": assumed.writers * (1 + replicas),
        "postgres_connections": workers * pool_size(shards),
        "process_gb": round(
            (edges * costs.edge_mb + workers * costs.worker_mb) / _MB_IN_GB, 2
        ),
        "redis_gb_per_hour_of_outage": round(stream * _HOUR / _GB, 2),
        "hours_without_postgres": round(room / stream / _HOUR, 1),
        "redis_gb_per_day_of_customers": round(
            rate * assumed.leads * assumed.customer_bytes * _DAY / _GB, 2
        ),
        "postgres_gb_per_day": round(
            rate * _DAY * costs.postgres_bytes * weight / _GB, 1
        ),
        "wal_mb_per_second": round(wal, 1),
        "replication_mb_per_second": round(
            replicas * (wal + rate * costs.redis_bytes / _MILLION), 1
        ),
        "lag_p99_seconds": lag,
        "catch_up_minutes": catch_up,
    }


def _too_much(costs: Costs, assumed: Assumptions, rate: int) -> list[str]:
    """What would be asked of the servers beyond what they can do."""
    weight = assumed.weight
    # Shares of what there is: of cores as busy as they may be, and of what a disk writes.
    parts = {
        "Valkey": rate * costs.valkey / assumed.nodes / assumed.busy,
        "PostgreSQL": rate * costs.postgres * weight / (assumed.database_cores * assumed.busy),
        "WAL": rate * costs.wal_bytes * weight / _MILLION / assumed.wal_mb,
    }  # fmt: skip
    return [f"{name} {part:.0%}" for name, part in parts.items() if part > 1]


def _recorded(costs: Costs, assumed: Assumptions, workers: int, cores: int) -> float:
    """Events a second that are recorded at most, while workers catch up."""
    kept = 1.0 if workers == 1 else assumed.efficiency
    return (
        min(
            workers * kept / costs.worker,
            cores / costs.postgres,
            assumed.wal_mb * _MILLION / costs.wal_bytes,
        )
        / assumed.weight
    )


def simulate(rate: float, most: float) -> tuple[float, float]:
    """Events at a rate, with bursts, recorded at `most` a second, both in events a second.

    The p99 of the wait in seconds; and the minutes until a backlog of ten minutes without
    PostgreSQL is gone. Arrivals are random; the wait is what is before an event in the
    stream, or until the next read, and the round trips of a batch.
    """
    chance = Random(1)  # noqa: S311 -- the same answer every time
    waits: list[tuple[float, float]] = []
    backlog = 0.0
    for step in range(round(_MINUTES * 60 / _STEP)):
        burst = _BURST if step * _STEP % _BURST_EVERY < 1 else 1.0
        mean = rate * burst * _STEP
        # A Poisson number of many is as good as normal.
        come = max(0.0, chance.gauss(mean, mean**0.5))
        waits.append((max(_GATHERING, backlog / most) + _ROUND_TRIPS, come))
        backlog = max(0.0, backlog + come - most * _STEP)
    share = (_BURST_EVERY - 1 + _BURST) / _BURST_EVERY
    spare = most - rate * share
    catch_up = _OUTAGE * rate * share / spare / 60 if spare > 0 else inf
    return round(_weighted(waits, 0.99), 2), round(catch_up, 1)


def _weighted(waits: Sequence[tuple[float, float]], share: float) -> float:
    """The wait that a share of all events does not exceed."""
    left = share * sum(events for _, events in waits)
    for wait, events in sorted(waits):
        left -= events
        if left <= 0:
            return wait
    return max(waits)[0]


def _processes(cores: float, assumed: Assumptions) -> int:
    """How many processes do the work of so many cores."""
    alone = cores / assumed.busy
    return 1 if alone <= 1 else ceil(alone / assumed.efficiency)
