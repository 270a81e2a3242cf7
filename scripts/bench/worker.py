"""`reftide bench worker`: one worker process against COPY of the same rows."""

import asyncio
import time
from typing import Final

from uuid_utils.compat import uuid7

from scripts.bench import options
from scripts.bench.baselines.copy_rows import Recorded, batches, copy, read_back
from scripts.bench.environment.runs import Result, paired, tell
from scripts.bench.environment.servers import SHARDS, BenchServers, prepared
from scripts.bench.load.recording import empty, forget, recording_rate
from scripts.environment import Environment
from scripts.sql import statements
from workers.stream.shard import ReaderConfig

_SQL: Final = statements("bench/environment/bench")
#: What a worker takes where nobody says otherwise.
_BATCH: Final = ReaderConfig(name="bench").batch_size


@options.measurement(
    options.pairs(5),
    options.events(60_000),
    epilog="""\b
  reftide bench worker --events 100000

\b
The worker reads, resolves, enriches, writes, counts, keeps the ledger and acknowledges;
the baseline copies the finished rows. Batches and indexes are alike.
""",
)
def worker(environment: Environment, *, pairs: int, events: int) -> Result:
    """Events/s of one worker process against COPY of the same rows."""
    with prepared(environment) as servers:
        tell(f"recording {events:,} clicks for COPY to repeat")
        _work(servers, events)
        recorded = asyncio.run(_recorded(servers, events))
        found = paired(
            lambda: _work(servers, events),
            lambda: asyncio.run(_copy(servers, recorded)),
            pairs,
        )
    conditions = {
        "baseline": "COPY of the rows of events and customers, links' counters updated",
        "links": len(servers.links),
        "shards": SHARDS,
        "batch_size": _BATCH,
        "new_customers": len(recorded.customers),
    }
    return Result(name="worker", unit="events/s", pairs=found, conditions=conditions)


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
