"""`reftide bench latency`: how long from accepting an event to having it recorded.

An open loop sends at a share of what was found to be the most: requests come at moments that
the system has no say in, so that one that waits counts its waiting. Both ends of an event
are in its row: its id tells the millisecond in which the edge minted it, which is before the
stream has it, and Postgres keeps when the row's transaction committed (track_commit_timestamp).
Postgres takes that time before the commit is on its disk; so while the load lasts small
transactions are committed beside it, and the slowest hundredth of them is added to the p99.
Metrics are not used: their buckets are coarser than what is to be told apart.

The rival writes the same rows in its request and is measured in the same way, at the same
share of its own most.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from threading import Event, Thread
from typing import Any, Final

from scripts.bench.environment.contenders import Start, cores, fastapi, reftide
from scripts.bench.environment.runs import Result, Tell, paired, quantile
from scripts.bench.environment.servers import SECONDS, BenchServers
from scripts.bench.load.end_to_end import empty, once, through, warm
from scripts.bench.load.load import Own, choose
from scripts.bench.pipeline import clicks
from scripts.servers import postgres, single
from scripts.sql import statements

_SQL: Final = statements("bench/environment/bench")
_PROBE_SECONDS: Final = 0.05
_MS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Of one run: what was asked for, and times in milliseconds.

    `recorded` is from the id to the commit on the disk, `answered` what the client saw.
    """

    share: float
    rate: float
    recorded_p50: float
    recorded_p99: float
    commit_p99: float
    answered_p50: float
    answered_p99: float


@dataclass(frozen=True, slots=True)
class _Side:
    """Reftide or its rival, and the events a second at which it is saturated."""

    start: Start
    most: float


def measure(  # noqa: PLR0913 -- what a caller may choose
    servers: BenchServers,
    *,
    pairs: int,
    seconds: float,
    edges: int,
    workers: int,
    share: float,
    tell: Tell,
) -> Result:
    """The p99 of recording at a share of saturation, in pairs."""
    full = choose(clicks(servers))
    sides = []
    for start in (reftide(edges, workers), fastapi()):
        sides.append(_Side(start, through(servers, start, full.send, seconds).rate))
        tell(f"saturated at {sides[-1].most:,.0f} events/s")
    ours, theirs = sides
    found: list[Latency] = []

    def p99(side: _Side) -> float:
        found.append(at_share(servers, side, share, seconds))
        return found[-1].recorded_p99

    pairs_found = paired(partial(p99, ours), partial(p99, theirs), pairs, tell, " ms")
    conditions = {
        "baseline": "FastAPI and asyncpg, at the same share of its own saturation",
        "share": share,
        "saturation": round(ours.most),
        "baseline_saturation": round(theirs.most),
        "edges": edges,
        "workers": workers,
        "seconds": seconds,
        "cores": cores(),
    }
    return Result(
        name="latency",
        unit="ms",
        pairs=pairs_found,
        conditions=conditions,
        digits=1,
        more={
            "runs_of_reftide": [asdict(each) for each in found[::2]],
            "runs_of_baseline": [asdict(each) for each in found[1::2]],
        },
    )


def at_share(
    servers: BenchServers, side: _Side, share: float, seconds: float
) -> Latency:
    """One run from nothing, at a share of what saturates."""
    empty(servers)
    load, rate = Own(clicks(servers)), side.most * share
    commits: list[float] = []

    with side.start(servers) as contender:
        warm(servers, contender, partial(load.send, rate=rate))
        began_ms = time.time_ns() // 1_000_000
        with _probing(servers, commits):
            run = once(servers, contender, partial(load.send, rate=rate), seconds)
    recorded = asyncio.run(_recorded(servers, began_ms))
    slow_commit = quantile(commits, 0.99) * _MS
    return Latency(
        share=share,
        rate=round(run.sent.rate, 1),
        recorded_p50=round(recorded["p50"] + quantile(commits, 0.5) * _MS, 1),
        recorded_p99=round(recorded["p99"] + slow_commit, 1),
        commit_p99=round(slow_commit, 1),
        answered_p50=round(quantile(run.sent.latencies, 0.5) * _MS, 1),
        answered_p99=round(quantile(run.sent.latencies, 0.99) * _MS, 1),
    )


@contextmanager
def _probing(servers: BenchServers, commits: list[float]) -> Iterator[None]:
    """Beside the block, how long commits take, in seconds."""
    over = Event()
    probe = Thread(target=lambda: asyncio.run(_probe(servers, commits, over)))
    probe.start()
    try:
        yield
    finally:
        over.set()
        probe.join()


async def _probe(servers: BenchServers, commits: list[float], over: Event) -> None:
    async with postgres(servers.environment, seconds=SECONDS) as connection:
        while not over.is_set():
            began = time.perf_counter()
            await connection.execute(_SQL["commit"])
            commits.append(time.perf_counter() - began)
            await asyncio.sleep(_PROBE_SECONDS)


async def _recorded(servers: BenchServers, since_ms: int) -> dict[str, Any]:
    async with postgres(servers.environment, seconds=SECONDS) as connection:
        return await single(connection, _SQL["latency"], since_ms)
