"""`reftide bench cost`: what an event takes, in bytes, processor time and memory.

Reftide runs as for `pipeline`. The figure is the memory of the streams for an event, its
baseline the request's JSON body and User-Agent; beside them stands all that the servers
keep and every process spends.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from threading import Event, Thread
from typing import Final

from redis.asyncio import Redis

from ingest.contracts.stream import events_key
from scripts.bench.environment import usage
from scripts.bench.environment.contenders import Contender, cores, reftide
from scripts.bench.environment.runs import Pair, Result, Tell
from scripts.bench.environment.servers import SECONDS, SHARDS, BenchServers
from scripts.bench.load import traffic
from scripts.bench.load.end_to_end import Run, empty, once, warm
from scripts.bench.load.generator import agent
from scripts.bench.load.load import Load, choose
from scripts.bench.pipeline import clicks
from scripts.servers import postgres, redis_server, rows
from scripts.sql import statements

_SQL: Final = statements("bench/environment/bench")
_REST_SECONDS: Final = 2.0
_SAMPLE_SECONDS: Final = 0.25
_MILLION: Final = 1e6


@dataclass(frozen=True, slots=True)
class _Kept:
    """Bytes that the servers hold, and how many entries the streams have."""

    entries: int
    streams: int
    redis: int
    wal: int
    relations: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Cost:
    """One run's: bytes of the stream for an event, and all the rest by its name."""

    stream: float
    bytes_per_event: Mapping[str, float]
    cpu_per_million: Mapping[str, float]
    memory: Mapping[str, tuple[int, int]]


def measure(
    ground: BenchServers,
    *,
    pairs: int,
    seconds: float,
    edges: int,
    workers: int,
    tell: Tell,
) -> Result:
    """What events cost, `pairs` times at as many as come in so many seconds."""
    usage.require()
    load = choose(clicks(ground))
    request = _request_bytes(ground)
    costs = []
    for number in range(1, pairs + 1):
        costs.append(_run(ground, load, seconds, edges, workers))
        tell(
            f"run {number} of {pairs}: {costs[-1].stream:.0f} bytes in the stream,"
            f" {request:.0f} in the request"
        )
    conditions = {
        "baseline": "the request's JSON body and User-Agent",
        "edges": edges,
        "workers": workers,
        "shards": SHARDS,
        "load": load.name,
        "seconds": seconds,
        "cores": cores(),
    }
    return Result(
        name="cost",
        unit="bytes/event",
        pairs=[Pair(cost.stream, request) for cost in costs],
        conditions=conditions,
        digits=1,
        more=_summed_up(costs),
    )


def _request_bytes(ground: BenchServers) -> float:
    bodies = traffic.bodies(ground.links)
    return sum(len(body) + len(agent(body)) for body in bodies) / len(bodies)


def _summed_up(costs: Sequence[_Cost]) -> dict[str, object]:
    """The median of every figure."""
    first = costs[0]
    return {
        "bytes_per_event": {
            name: round(
                median(cost.bytes_per_event.get(name, 0.0) for cost in costs), 1
            )
            for name in first.bytes_per_event
        },
        "cpu_seconds_per_million_events": {
            name: round(median(cost.cpu_per_million[name] for cost in costs), 2)
            for name in first.cpu_per_million
        },
        "memory_mb": [
            {
                "process": name,
                "at_rest": _megabytes(median(cost.memory[name][0] for cost in costs)),
                "at_saturation": _megabytes(
                    median(cost.memory[name][1] for cost in costs)
                ),
            }
            for name in first.memory
        ],
    }


def _megabytes(count: float) -> float:
    return round(count / _MILLION, 1)


def _run(
    ground: BenchServers, load: Load, seconds: float, edges: int, workers: int
) -> _Cost:
    empty(ground)
    with reftide(edges, workers)(ground) as contender:
        time.sleep(_REST_SECONDS)
        at_rest = _memory(ground, contender)
        warm(ground, contender, load.send)
        before, spent = asyncio.run(_kept(ground)), _cpu(ground, contender)
        with _peaks(ground, contender) as peaks:
            run = once(ground, contender, load.send, seconds)
        after, spent_after = asyncio.run(_kept(ground)), _cpu(ground, contender)
    return _Cost(
        (after.streams - before.streams) / (after.entries - before.entries),
        _per_event(before, after, run),
        {
            name: (spent_after[name] - spent[name]) / run.events * _MILLION
            for name in spent
        },
        {name: (at_rest[name], peaks[name]) for name in at_rest},
    )


def _per_event(before: _Kept, after: _Kept, run: Run) -> dict[str, float]:
    grown = {
        name: size - before.relations.get(name, 0)
        for name, size in after.relations.items()
    }
    whole = {
        "Redis: streams": after.streams - before.streams,
        "Redis: all of it": after.redis - before.redis,
        "Postgres: all of it": sum(grown.values()),
        **{f"Postgres: {name}": size for name, size in grown.items()},
        "Postgres: written ahead (WAL)": after.wal - before.wal,
    }
    return {name: size / run.events for name, size in whole.items() if size > 0}


def _roots(ground: BenchServers, contender: Contender) -> dict[str, Sequence[int]]:
    return {
        **contender.pids,
        **{name: [pid] for name, pid in ground.servers.items()},
    }


def _cpu(ground: BenchServers, contender: Contender) -> dict[str, float]:
    roots = _roots(ground, contender)
    return {name: usage.cpu_seconds(usage.tree(pids)) for name, pids in roots.items()}


def _memory(ground: BenchServers, contender: Contender) -> dict[str, int]:
    """Bytes of a process of each kind; of Postgres, all its processes together."""
    roots = _roots(ground, contender)
    return {
        name: usage.memory(usage.tree(pids)) // len(pids)
        for name, pids in roots.items()
    }


@contextmanager
def _peaks(ground: BenchServers, contender: Contender) -> Iterator[dict[str, int]]:
    """The most memory of each kind in the block."""
    peaks = _memory(ground, contender)
    over = Event()

    def look() -> None:
        while not over.wait(_SAMPLE_SECONDS):
            for name, size in _memory(ground, contender).items():
                peaks[name] = max(peaks[name], size)

    looking = Thread(target=look)
    looking.start()
    try:
        yield peaks
    finally:
        over.set()
        looking.join()


async def _kept(ground: BenchServers) -> _Kept:
    async with (
        redis_server(ground.environment) as redis,
        postgres(ground.environment, seconds=SECONDS) as connection,
    ):
        memory = await redis.info("memory")
        relations = await rows(connection, _SQL["sizes"])
        keys = [events_key(shard) for shard in range(SHARDS)]
        return _Kept(
            entries=sum([await redis.xlen(key) for key in keys]),
            streams=sum([await _size(redis, key) for key in keys]),
            redis=memory["used_memory_dataset"],
            wal=await connection.fetchval(_SQL["wal"]),
            relations={row["name"]: row["bytes"] for row in relations},
        )


async def _size(redis: Redis, key: str) -> int:
    # Of all its parts, not of a sample.
    return int(await redis.memory_usage(key, samples=0) or 0)
