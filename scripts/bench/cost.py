"""`reftide bench cost`: what an event takes, in bytes, processor time and memory."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from redis.asyncio import Redis

from ingest.contracts.stream import events_key
from scripts.bench import options
from scripts.bench.environment import usage
from scripts.bench.environment.processes import Contender, reftide, repeatedly
from scripts.bench.environment.runs import Pair, Result, tell
from scripts.bench.environment.servers import SECONDS, SHARDS, BenchServers, prepared
from scripts.bench.load import traffic
from scripts.bench.load.generator import agent
from scripts.bench.load.load import Load, choose, clicks
from scripts.bench.load.recording import empty, once, warm
from scripts.environment import Environment
from scripts.servers import rows
from scripts.sql import statements

_SQL: Final = statements("bench/environment/bench")
_REST_SECONDS: Final = 2.0
_SAMPLE_SECONDS: Final = 0.25
_MILLION: Final = 1e6
_AT_ONCE: Final = 1000

Sizes = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Cost:
    """One run's: bytes of an event, processor seconds of a million, bytes of a process.

    `at_rest` and `at_most` are of a process of each kind; of Postgres, of all together.
    """

    bytes_per_event: Sizes
    cpu_per_million: Sizes
    at_rest: Sizes
    at_most: Sizes

    @property
    def redis(self) -> float:
        """Bytes of an event in every key of Redis."""
        return self.bytes_per_event["Redis: all keys"]

    @property
    def cpu(self) -> float:
        """Microseconds of processor time of an event, of all processes together."""
        return sum(self.cpu_per_million.values())


@options.measurement(
    options.pairs(3),
    options.seconds(10.0),
    options.EDGES,
    options.WORKERS,
    epilog="""\b
  reftide bench cost --json > cost.json
  reftide bench capacity --json-from cost.json

\b
The figure is the memory of every key in Redis that an event adds or enlarges, its
baseline the bytes of the request's JSON body and User-Agent. Beside them: what Redis
and Postgres keep in all, by table and index; seconds of a core for a million events, by
process; memory of a process at rest and under full load. Processes that share memory
share its count.
""",
)
def cost(
    environment: Environment, *, pairs: int, seconds: float, edges: int, workers: int
) -> Result:
    """Bytes, processor time and memory for an event."""
    usage.require()
    costs = []
    with prepared(environment) as servers:
        load = choose(clicks(servers.codes, servers.data))
        request = request_bytes(servers.codes)
        for number in range(1, pairs + 1):
            asyncio.run(empty(servers))
            costs.append(measured(servers, load, seconds, edges, workers))
            tell(
                f"run {number} of {pairs}: {costs[-1].redis:.0f} bytes in Redis,"
                f" {request:.0f} in the request; {costs[-1].cpu:.1f} µs of processor time"
            )
    memory = [
        {
            "process": name,
            "at_rest": round(median(one.at_rest[name] for one in costs) / _MILLION, 1),
            "at_saturation": round(
                median(one.at_most[name] for one in costs) / _MILLION, 1
            ),
        }
        for name in costs[0].at_rest
    ]
    return Result(
        name="cost",
        unit="bytes/event",
        pairs=[Pair(one.redis, request) for one in costs],
        conditions={
            "baseline": "the request's JSON body and User-Agent",
            "shards": SHARDS,
            "load": load.name,
        },
        digits=1,
        more={
            "bytes_per_event": _medians([one.bytes_per_event for one in costs], 1),
            "cpu_seconds_per_million_events": _medians(
                [one.cpu_per_million for one in costs], 2
            ),
            "memory_mb": memory,
        },
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
        warm(servers, contender, load)
        before, spent = asyncio.run(_kept(servers)), _cpu(servers, contender)
        most = dict(at_rest)

        def look() -> None:
            for name, size in _memory(servers, contender).items():
                most[name] = max(most[name], size)

        with repeatedly(look, _SAMPLE_SECONDS):
            once(servers, contender, load, seconds)
        after, spent_after = asyncio.run(_kept(servers)), _cpu(servers, contender)
    # More than were answered: a load that ends does not wait for what is out.
    events = after.pop("events") - before.pop("events")
    grown = {name: size - before.get(name, 0) for name, size in after.items()}
    return Cost(
        {name: size / events for name, size in grown.items() if size > 0},
        {name: (spent_after[name] - spent[name]) / events * _MILLION for name in spent},
        at_rest,
        most,
    )


def _medians(found: Sequence[Sizes], digits: int) -> Sizes:
    return {
        name: round(median(one.get(name, 0.0) for one in found), digits)
        for name in found[0]
    }


def _roots(servers: BenchServers, contender: Contender) -> dict[str, Sequence[int]]:
    of_servers = {name: [pid] for name, pid in servers.pids.items()}
    return {**contender.pids, **of_servers}


def _cpu(servers: BenchServers, contender: Contender) -> Sizes:
    roots = _roots(servers, contender)
    return {name: usage.cpu_seconds(usage.tree(pids)) for name, pids in roots.items()}


def _memory(servers: BenchServers, contender: Contender) -> Sizes:
    roots = _roots(servers, contender)
    return {
        name: usage.memory(usage.tree(pids)) // len(pids)
        for name, pids in roots.items()
    }


async def _kept(servers: BenchServers) -> dict[str, float]:
    """Bytes that the servers hold, by what they are; and how many `events` there are."""
    async with servers.redis() as redis, servers.postgres() as connection:
        await _at_rest(redis)
        memory = await redis.info("memory")
        relations = await rows(connection, _SQL["sizes"])
        streams = [events_key(shard).encode() for shard in range(SHARDS)]
        every = [key async for key in redis.scan_iter(count=_AT_ONCE)]
        return {
            "events": await connection.fetchval(_SQL["clicks"]),
            "Redis: all keys": await _bytes_of(redis, every),
            "Redis: streams": await _bytes_of(redis, streams),
            "Redis: all of it": memory["used_memory_dataset"],
            "Postgres: all of it": sum(row["bytes"] for row in relations),
            **{f"Postgres: {row['name']}": row["bytes"] for row in relations},
            "Postgres: written ahead (WAL)": await connection.fetchval(_SQL["wal"]),
        }


async def _at_rest(redis: Redis) -> None:
    """Return when workers have recorded and acknowledged every entry."""
    async with asyncio.timeout(SECONDS):
        for shard in range(SHARDS):
            while any(  # noqa: ASYNC110 -- a server's state can only be polled
                group["pending"] or group["lag"]
                for group in await redis.xinfo_groups(events_key(shard))
            ):
                await asyncio.sleep(_SAMPLE_SECONDS)


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
