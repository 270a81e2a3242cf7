"""`reftide bench cost`: what an event takes, in bytes, processor time and memory.

Reftide runs as for `pipeline`. The figure is the memory of every key in Redis that events
add or enlarge, for an event; its baseline the request's JSON body and User-Agent. Beside
them stands all that the servers keep and every process spends.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
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
from scripts.bench.load.end_to_end import empty, once, warm
from scripts.bench.load.generator import agent
from scripts.bench.load.load import Load, choose
from scripts.bench.pipeline import clicks
from scripts.servers import postgres, redis_server, rows
from scripts.sql import statements

_SQL: Final = statements("bench/environment/bench")
_REST_SECONDS: Final = 2.0
_SAMPLE_SECONDS: Final = 0.25
_MILLION: Final = 1e6
_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class _Kept:
    """Bytes that the servers hold; `keys` are all of Redis' keys, streams included."""

    events: int
    keys: int
    streams: int
    dataset: int
    wal: int
    relations: Mapping[str, int]


@dataclass(frozen=True)
class Cost:
    """One run's, by name: bytes of an event, processor seconds of a million, memory."""

    bytes_per_event: Mapping[str, float]
    cpu_per_million: Mapping[str, float]
    memory: Mapping[str, tuple[int, int]]

    @cached_property
    def redis(self) -> float:
        """Bytes of an event in every key of Redis."""
        return self.bytes_per_event["Redis: all keys"]

    @cached_property
    def cpu(self) -> float:
        """Microseconds of processor time of an event, of all processes together."""
        return sum(self.cpu_per_million.values())


def measure(
    servers: BenchServers,
    *,
    pairs: int,
    seconds: float,
    edges: int,
    workers: int,
    tell: Tell,
) -> Result:
    """What events cost, `pairs` times at as many as come in so many seconds."""
    usage.require()
    load = choose(clicks(servers))
    request = request_bytes(servers.codes)
    costs = []
    for number in range(1, pairs + 1):
        empty(servers)
        costs.append(measured(servers, load, seconds, edges, workers))
        tell(
            f"run {number} of {pairs}: {costs[-1].redis:.0f} bytes in Redis,"
            f" {request:.0f} in the request; {costs[-1].cpu:.1f} µs of processor time"
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
        pairs=[Pair(cost.redis, request) for cost in costs],
        conditions=conditions,
        digits=1,
        more=_summed_up(costs),
    )


def request_bytes(codes: Sequence[str]) -> float:
    """JSON body and User-Agent of a click on one of these codes."""
    bodies = traffic.bodies(codes)
    return sum(len(body) + len(agent(body)) for body in bodies) / len(bodies)


def measured(
    servers: BenchServers, load: Load, seconds: float, edges: int, workers: int
) -> Cost:
    """One run on what the servers already have."""
    with reftide(edges, workers)(servers) as contender:
        time.sleep(_REST_SECONDS)
        at_rest = _memory(servers, contender)
        warm(servers, contender, load.send)
        before, spent = asyncio.run(_kept(servers)), _cpu(servers, contender)
        with _peaks(servers, contender) as peaks:
            once(servers, contender, load.send, seconds)
        after, spent_after = asyncio.run(_kept(servers)), _cpu(servers, contender)
    # More than were answered: a load that ends does not wait for what is out.
    events = after.events - before.events
    return Cost(
        _per_event(before, after, events),
        {name: (spent_after[name] - spent[name]) / events * _MILLION for name in spent},
        {name: (at_rest[name], peaks[name]) for name in at_rest},
    )


def _summed_up(costs: Sequence[Cost]) -> dict[str, object]:
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


def _per_event(before: _Kept, after: _Kept, events: int) -> dict[str, float]:
    grown = {
        name: size - before.relations.get(name, 0)
        for name, size in after.relations.items()
    }
    whole = {
        "Redis: all keys": after.keys - before.keys,
        "Redis: streams": after.streams - before.streams,
        "Redis: all of it": after.dataset - before.dataset,
        "Postgres: all of it": sum(grown.values()),
        **{f"Postgres: {name}": size for name, size in grown.items()},
        "Postgres: written ahead (WAL)": after.wal - before.wal,
    }
    return {name: size / events for name, size in whole.items() if size > 0}


def _roots(servers: BenchServers, contender: Contender) -> dict[str, Sequence[int]]:
    return {
        **contender.pids,
        **{name: [pid] for name, pid in servers.pids.items()},
    }


def _cpu(servers: BenchServers, contender: Contender) -> dict[str, float]:
    roots = _roots(servers, contender)
    return {name: usage.cpu_seconds(usage.tree(pids)) for name, pids in roots.items()}


def _memory(servers: BenchServers, contender: Contender) -> dict[str, int]:
    """Bytes of a process of each kind; of Postgres, all its processes together."""
    roots = _roots(servers, contender)
    return {
        name: usage.memory(usage.tree(pids)) // len(pids)
        for name, pids in roots.items()
    }


@contextmanager
def _peaks(servers: BenchServers, contender: Contender) -> Iterator[dict[str, int]]:
    """The most memory of each kind in the block."""
    peaks = _memory(servers, contender)
    over = Event()

    def look() -> None:
        while not over.wait(_SAMPLE_SECONDS):
            for name, size in _memory(servers, contender).items():
                peaks[name] = max(peaks[name], size)

    looking = Thread(target=look)
    looking.start()
    try:
        yield peaks
    finally:
        over.set()
        looking.join()


async def _at_rest(redis: Redis) -> None:
    """Return when workers have recorded and acknowledged every entry."""
    async with asyncio.timeout(SECONDS):
        for shard in range(SHARDS):
            while any(  # noqa: ASYNC110 -- a server's state can only be polled
                group["pending"] or group["lag"]
                for group in await redis.xinfo_groups(events_key(shard))
            ):
                await asyncio.sleep(_SAMPLE_SECONDS)


async def _kept(servers: BenchServers) -> _Kept:
    async with (
        redis_server(servers.environment) as redis,
        postgres(servers.environment, seconds=SECONDS) as connection,
    ):
        await _at_rest(redis)
        memory = await redis.info("memory")
        relations = await rows(connection, _SQL["sizes"])
        streams = [events_key(shard).encode() for shard in range(SHARDS)]
        every = [key async for key in redis.scan_iter(count=_AT_ONCE)]
        return _Kept(
            events=await connection.fetchval(_SQL["clicks"]),
            keys=await _bytes_of(redis, every),
            streams=await _bytes_of(redis, streams),
            dataset=memory["used_memory_dataset"],
            wal=await connection.fetchval(_SQL["wal"]),
            relations={row["name"]: row["bytes"] for row in relations},
        )


async def _bytes_of(redis: Redis, keys: Sequence[bytes]) -> int:
    """What the keys take with all their parts, not with a sample of these."""
    total = 0
    for begin in range(0, len(keys), _AT_ONCE):
        async with redis.pipeline(transaction=False) as pipe:
            for key in keys[begin : begin + _AT_ONCE]:
                pipe.memory_usage(key, samples=0)
            # A key may expire meanwhile.
            total += sum(size or 0 for size in await pipe.execute())
    return total
