"""`reftide bench worker`: one worker process against COPY of the same rows."""

import asyncio
import time
from typing import Final

import click
from uuid_utils.compat import uuid7

from scripts.bench import options
from scripts.bench.baselines.copy_rows import Recorded, batches, copy, read_back
from scripts.bench.environment.pooler import pooled
from scripts.bench.environment.runs import Pair, Result, paired, tell
from scripts.bench.environment.servers import SHARDS, BenchServers, prepared
from scripts.bench.load.recording import (
    Backlog,
    Pooler,
    empty,
    forget,
    recorded,
    recording_rate,
)
from scripts.environment import Environment
from scripts.sql import statements
from workers.stream.shard import ReaderConfig

_SQL: Final = statements("bench/environment/bench")
#: What a worker takes where nobody says otherwise.
_BATCH: Final = ReaderConfig(name="bench").batch_size


@options.measurement(
    options.pairs(5),
    options.events(60_000),
    click.option(
        "--pooler",
        "is_pooled",
        is_flag=True,
        help="A worker through PgBouncer in transaction mode, against one without.",
    ),
    epilog="""\b
  reftide bench worker --events 100000
  reftide bench worker --pooler

\b
The worker reads, resolves, enriches, writes, counts, keeps the ledger and acknowledges;
the baseline copies the finished rows. Batches and indexes are alike. With --pooler the
figure is of a second of processor time, the pooler's and the servers' included.
""",
)
def worker(
    environment: Environment, *, pairs: int, events: int, is_pooled: bool
) -> Result:
    """Events/s of one worker process against COPY of the same rows."""
    if is_pooled:
        return _pooled(environment, pairs, events)
    with prepared(environment) as servers:
        tell(f"recording {events:,} clicks for COPY to repeat")
        _work(servers, events)
        rows = asyncio.run(_recorded(servers, events))
        found = paired(
            lambda: _work(servers, events),
            lambda: asyncio.run(_copy(servers, rows)),
            pairs,
        )
    conditions = {
        "baseline": "COPY of the rows of events and customers, links' counters updated",
        "links": len(servers.links),
        "shards": SHARDS,
        "batch_size": _BATCH,
        "new_customers": len(rows.customers),
    }
    return Result(name="worker", unit="events/s", pairs=found, conditions=conditions)


def _pooled(environment: Environment, pairs: int, events: int) -> Result:
    """A worker with REFTIDE_POOLER=transaction through PgBouncer against one without either."""
    found: list[Pair] = []
    rates: list[Pair] = []
    with prepared(environment) as servers, pooled(servers) as pooler:

        def once(behind: Pooler | None) -> Backlog:
            asyncio.run(empty(servers))
            return recorded(servers, servers.links, events, behind=behind)

        once(pooler)
        for number in range(1, pairs + 1):
            ours, usual = once(pooler), once(None)
            found.append(Pair(ours.per_cpu_second, usual.per_cpu_second))
            rates.append(Pair(ours.rate, usual.rate))
            tell(f"run {number} of {pairs}: ratio {found[-1].ratio:.3f}")
    conditions = {
        "baseline": "the same worker, connected to PostgreSQL itself",
        "links": len(servers.links),
        "shards": SHARDS,
        "batch_size": _BATCH,
    }
    per_second = Result(name="worker", unit="events/s", pairs=rates).figures()
    return Result(
        name="worker",
        unit="events/CPU s",
        pairs=found,
        conditions=conditions,
        more={"by_the_clock": per_second},
    )


def _work(servers: BenchServers, events: int) -> float:
    asyncio.run(empty(servers))
    return recording_rate(servers, servers.links, events)


async def _recorded(servers: BenchServers, events: int) -> Recorded:
    async with servers.postgres() as connection:
        return await read_back(connection, events)


async def _copy(servers: BenchServers, recorded: Recorded) -> float:
    """Events a second of COPY; making its rows is not counted."""
    prepared = list(batches(recorded, _BATCH, uuid7))
    async with servers.postgres() as connection:
        await forget(connection)
        await connection.execute(_SQL["settle"])
        began = time.perf_counter()
        await copy(connection, recorded, prepared)
        return len(recorded.events) / (time.perf_counter() - began)
