"""`reftide bench latency`: how long from accepting an event to having it recorded.

Both ends of an event are in its row: its id tells the millisecond in which the edge minted
it, and Postgres keeps when the row's transaction committed (track_commit_timestamp). It
takes that time before the commit is on its disk; so while the load lasts small transactions
are committed beside it, and the slowest hundredth of them is added to the p99. Metrics are
not used: their buckets are coarser than what is to be told apart.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Final

from scripts.bench import options
from scripts.bench.environment.processes import (
    Start,
    fastapi,
    reftide,
    require_fastapi,
)
from scripts.bench.environment.runs import Result, paired, quantile, tell
from scripts.bench.environment.servers import Asked, BenchServers, prepared
from scripts.bench.load.events import unix_ms
from scripts.bench.load.load import Own, choose, clicks
from scripts.bench.load.recording import empty, once, through, warm
from scripts.environment import Environment
from scripts.servers import single
from scripts.sql import statements

_SQL: Final = statements("bench/environment/bench")
_PROBE_SECONDS: Final = 0.05
_MS: Final = 1000

#: Of one run, by name: its `rate` in events a second, the rest in milliseconds. `recorded`
#: is from the id to the commit on the disk, `answered` what the client saw.
Latency = dict[str, float]


@options.measurement(
    options.pairs(3),
    options.seconds(10.0),
    options.number("share", 0.5, "Of saturation.", least=0.01, most=1),
    options.EDGES,
    options.WORKERS,
    epilog="""\b
  reftide bench latency --share 0.5

\b
First both are saturated for --seconds. Then requests come at random moments, at a
share of that, and count their waiting. An event's time is from the millisecond of its
id to its commit (Postgres keeps it), and what a commit then took to reach the disk.
The unit is ms: a ratio above 1 is worse.
""",
)
def latency(
    environment: Environment,
    *,
    pairs: int,
    seconds: float,
    share: float,
    edges: int,
    workers: int,
) -> Result:
    """From accepted to recorded: the p99 at half of what saturates."""
    require_fastapi()
    found: list[Latency] = []
    most: list[float] = []
    starts = (reftide(edges, workers), fastapi)
    with prepared(environment, Asked(tells_commits=True)) as servers:
        full = choose(clicks(servers.codes, servers.data))
        for start in starts:
            most.append(through(servers, start, full, seconds).rate)
            tell(f"saturated at {most[-1]:,.0f} events/s")

        def p99(side: int) -> float:
            load = Own(full.what, rate=most[side] * share)
            found.append(_at_pace(servers, starts[side], load, seconds))
            return found[-1]["recorded_p99"]

        pairs_found = paired(lambda: p99(0), lambda: p99(1), pairs, " ms")
    conditions = {
        "baseline": "FastAPI and asyncpg, at the same share of its own saturation",
        "saturation": round(most[0]),
        "baseline_saturation": round(most[1]),
    }
    return Result(
        name="latency",
        unit="ms",
        pairs=pairs_found,
        conditions=conditions,
        digits=1,
        more={"runs_of_reftide": found[::2], "runs_of_baseline": found[1::2]},
    )


def _at_pace(servers: BenchServers, start: Start, load: Own, seconds: float) -> Latency:
    """One run from nothing, at the pace of an open loop."""
    asyncio.run(empty(servers))
    commits: list[float] = []
    with start(servers) as contender:
        warm(servers, contender, load)
        began_ms = unix_ms()
        with _probing(servers, commits):
            sent = once(servers, contender, load, seconds).sent
    recorded = asyncio.run(_recorded(servers, began_ms))
    found = {"rate": sent.rate}
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        commit = quantile(commits, share) * _MS
        found[f"recorded_{name}"] = recorded[name] + commit
        found[f"commit_{name}"] = commit
        found[f"answered_{name}"] = quantile(sent.latencies, share) * _MS
    return {name: round(value, 1) for name, value in found.items()}


@contextmanager
def _probing(servers: BenchServers, commits: list[float]) -> Iterator[None]:
    """Beside the block, how long commits take, in seconds."""
    over = Event()

    async def probe() -> None:
        async with servers.postgres() as connection:
            while not over.is_set():
                began = time.perf_counter()
                await connection.execute(_SQL["commit"])
                commits.append(time.perf_counter() - began)
                await asyncio.sleep(_PROBE_SECONDS)

    thread = Thread(target=lambda: asyncio.run(probe()))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


async def _recorded(servers: BenchServers, since_ms: int) -> dict[str, float]:
    async with servers.postgres() as connection:
        return await single(connection, _SQL["latency"], since_ms)
