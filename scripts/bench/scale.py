"""`reftide bench scale`: what several workers and several edges do of what one does alone.

A machine with few cores cannot show how many events a second more processes record: they and
the servers share its cores. What an event takes of processors it does show, and whether that
grows with the processes, which is what more machines would pay for.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any, Final

import click

from ingest.contracts.variables import DEFAULT_SHARDS_APART
from scripts.bench import options
from scripts.bench.environment import usage
from scripts.bench.environment.cluster import clustered
from scripts.bench.environment.processes import cores, edges
from scripts.bench.environment.runs import Pair, Result, tell
from scripts.bench.environment.servers import SHARDS, BenchServers, prepared
from scripts.bench.load.load import Load, choose, clicks
from scripts.bench.load.recording import empty, publish, recorded
from scripts.environment import Environment
from scripts.errors import UsageProblem

_WARM_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class _Run:
    """Events of one run, its seconds, and those of processors, of the servers' included."""

    events: int
    seconds: float
    cpu_seconds: float

    @property
    def per_second(self) -> float:
        return self.events / self.seconds

    @property
    def cpu_micros(self) -> float:
        """Of an event."""
        return 1e6 * self.cpu_seconds / self.events

    @property
    def per_cpu_second(self) -> float:
        return self.events / self.cpu_seconds


_Runs = dict[int, list[_Run]]


@options.measurement(
    options.option(
        "processes", options.NUMBERS, "1,2,4", "How many workers, and edges, by commas."
    ),
    options.pairs(5),
    options.events(40_000),
    options.seconds(3.0),
    click.option(
        "--cluster",
        "is_clustered",
        is_flag=True,
        help="One edge and worker with streams on a cluster of three, against one server.",
    ),
    options.number(
        "connections", 256, "Connections of the load on edges.", least=8, most=10_000
    ),
    epilog="""\b
  reftide bench scale
  reftide bench scale --processes 1,2 --json
  reftide bench scale --cluster

\b
Workers record a backlog; edges answer clicks, and no worker runs. Processor time is that
of the processes and of the servers behind them, without the load. The figure is of the
most processes, its baseline of one, of workers or edges, whichever keeps less. On a
machine with fewer cores than processes, events a second say little: `cores` of a row is
how many were busy. With --cluster, processor time is that of the edge or worker alone, and
the figure is of whichever grows more.
""",
)
def scale(
    environment: Environment,
    *,
    processes: Sequence[int],
    pairs: int,
    is_clustered: bool,
    **asked: Any,
) -> Result:
    """Events for a second of processor time, of one and of several processes."""
    if is_clustered:
        return _clustered(environment, pairs, asked)
    events, seconds = asked["events"], asked["seconds"]
    # More workers than shards have nothing to do.
    if processes[0] != 1 or not 1 < processes[-1] <= SHARDS:
        raise UsageProblem(
            "One process is compared with several.",
            f"begin --processes with 1, and name others up to {SHARDS}.",
        )
    usage.require()
    with prepared(environment) as servers:
        load = choose(clicks(servers.codes, servers.data, asked["connections"]))
        kinds: dict[str, Callable[[int], _Run]] = {
            "worker": partial(_recorded, servers, events),
            "edge": partial(_answered, servers, load, seconds),
        }
        found = {
            kind: _rounds(kind, run, processes, pairs) for kind, run in kinds.items()
        }
    results = {kind: _result(runs) for kind, runs in found.items()}
    least = min(results, key=lambda kind: results[kind].ratio)
    rows = [
        _row(kind, count, runs)
        for kind, of_counts in found.items()
        for count, runs in of_counts.items()
    ]
    conditions = {
        "baseline": f"one {least}; the figure, {processes[-1]} of them",
        "shards": SHARDS,
        "load": load.name,
        "machine": _honestly(processes[-1]),
    }
    return Result(
        name="scale",
        unit="events/CPU s",
        pairs=results[least].pairs,
        conditions=conditions,
        more={"by_processes": rows},
    )


def _clustered(
    environment: Environment, pairs: int, asked: Mapping[str, Any]
) -> Result:
    """Processor time of an event with streams on a cluster, and on one server."""
    usage.require()
    found: dict[str, list[Pair]] = {"worker": [], "edge": []}
    with (
        prepared(environment) as servers,
        clustered(servers, DEFAULT_SHARDS_APART) as both,
    ):
        load = choose(clicks(servers.codes, servers.data, asked["connections"]))
        kinds: dict[str, Callable[[BenchServers], _Run]] = {
            "worker": lambda there: _recorded(there, asked["events"], 1),
            "edge": lambda there: _answered(there, load, asked["seconds"], 1),
        }
        for number in range(1, pairs + 1):
            for kind, run in kinds.items():
                # In turns, since a machine is never the same for long.
                runs = [run(there) for there in (both if number % 2 else both[::-1])]
                cluster, one = runs if number % 2 else runs[::-1]
                found[kind].append(Pair(cluster.cpu_micros, one.cpu_micros))
            said = ", ".join(
                f"{kind} {each[-1].figure:.1f} / {each[-1].baseline:.1f} us"
                for kind, each in found.items()
            )
            tell(f"run {number} of {pairs}: {said}")
    results = {
        kind: Result(name="scale", unit="CPU us/event", pairs=each, digits=1)
        for kind, each in found.items()
    }
    most = max(results, key=lambda kind: results[kind].ratio)
    conditions = {
        "baseline": f"one {most} with as many shards on one server, without servers' time",
        "shards": DEFAULT_SHARDS_APART,
        "load": load.name,
        "machine": _honestly(1),
    }
    by_kind = {kind: result.figures() for kind, result in results.items()}
    return replace(results[most], conditions=conditions, more={"by_kind": by_kind})


def _recorded(servers: BenchServers, events: int, count: int) -> _Run:
    """A backlog that so many workers record."""
    asyncio.run(empty(servers))
    return _Run(*recorded(servers, servers.links, events, count))


def _answered(servers: BenchServers, load: Load, seconds: float, count: int) -> _Run:
    """Clicks that so many edges answer."""
    asyncio.run(publish(servers))
    with edges(servers, count) as (port, pids):
        load.send(port, _WARM_SECONDS)
        counted = usage.tree([*pids, *servers.pids.values()])
        spent, began = usage.cpu_seconds(counted), time.perf_counter()
        sent = load.send(port, seconds)
        spent = usage.cpu_seconds(counted) - spent
        # The generator takes a moment to begin; nobody works meanwhile.
        took = min(sent.ended - sent.began, time.perf_counter() - began)
        return _Run(sent.requests, took, spent)


def _rounds(
    kind: str, run: Callable[[int], _Run], processes: Sequence[int], pairs: int
) -> _Runs:
    """Each number of processes in turn, so often."""
    found: _Runs = {count: [] for count in processes}
    for number in range(1, pairs + 1):
        for count in processes:
            found[count].append(run(count))
        said = ", ".join(
            f"{count}: {runs[-1].per_second:,.0f}/s, {runs[-1].per_cpu_second:,.0f} a CPU s"
            for count, runs in found.items()
        )
        tell(f"{kind}s, run {number} of {pairs}: {said}")
    return found


def _result(runs: _Runs) -> Result:
    most = max(runs)
    pairs = [
        Pair(many.per_cpu_second, one.per_cpu_second)
        for many, one in zip(runs[most], runs[1], strict=True)
    ]
    return Result(name="scale", unit="events/CPU s", pairs=pairs)


def _row(kind: str, count: int, runs: Sequence[_Run]) -> dict[str, Any]:
    return {
        "of": kind,
        "processes": count,
        "per_second": round(median(run.per_second for run in runs)),
        "per_cpu_second": round(median(run.per_cpu_second for run in runs)),
        "cores": round(median(run.cpu_seconds / run.seconds for run in runs), 2),
    }


def _honestly(most: int) -> str:
    have = cores()
    # The servers and the load need some, too.
    if have > most:
        return f"{have} cores, for servers and load too"
    return (
        f"{have} cores for {most} processes, servers and load: they wait for each other"
    )
