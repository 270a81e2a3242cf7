"""`reftide bench worker`: one worker process against COPY of the same rows.

See `draining` for what is timed, `copying` for what the baseline does.
"""

import time
from os import cpu_count
from typing import Final

from uuid_utils.compat import uuid7

from scripts.bench.baselines.copy_rows import Recorded, batches, copy, read_back
from scripts.bench.environment.runs import Result, Tell, paired
from scripts.bench.environment.servers import LINKS, SECONDS, SHARDS, BenchServers
from scripts.bench.load.drain import CONFIG, drained, fill
from scripts.bench.load.end_to_end import forget
from scripts.bench.loops import runner
from scripts.errors import Unreachable
from scripts.servers import postgres, redis_server
from scripts.sql import statements
from workers.enrich import build_enrichers

_SQL: Final = statements("bench/environment/bench")


def measure(servers: BenchServers, *, pairs: int, events: int, tell: Tell) -> Result:
    """Events a second of one process, `pairs` times so many clicks."""
    with runner() as loop:
        bench = _Bench(servers, events)
        tell(f"recording {events:,} clicks for COPY to repeat")
        loop.run(bench.work())
        recorded = loop.run(bench.recorded())
        found = paired(
            lambda: loop.run(bench.work()),
            lambda: loop.run(bench.copy(recorded)),
            pairs,
            tell,
        )
    conditions = {
        "baseline": "COPY of the rows of events and customers, links' counters updated",
        "events": events,
        "links": LINKS,
        "shards": SHARDS,
        "batch_size": CONFIG.batch_size,
        "new_customers": len(recorded.customers),
        "cores": cpu_count(),
    }
    return Result(name="worker", unit="events/s", pairs=found, conditions=conditions)


class _Bench:
    """One worker's and one COPY's way of recording the same clicks, from nothing."""

    def __init__(self, servers: BenchServers, events: int) -> None:
        self._ground = servers
        self._events = events
        # As in a worker, what is learnt of a user agent outlives the batch.
        self._enrich = build_enrichers(None)

    async def work(self) -> float:
        """Events a second. Raises Unreachable where not all of them were recorded."""
        environment = self._ground.environment
        async with (
            postgres(environment, seconds=SECONDS) as connection,
            redis_server(environment) as redis,
        ):
            await forget(connection)
            await redis.flushdb()
            await fill(redis, self._ground.links, self._events)
            await connection.execute(_SQL["settle"])
            seconds = await drained(environment, self._enrich, self._events)
            found = await connection.fetchval(_SQL["count"])
        if found != self._events:
            raise Unreachable(
                f"The worker recorded {found} of {self._events} events.",
                "it is a bug: see what `reftide worker` says of such clicks.",
            )
        return self._events / seconds

    async def recorded(self) -> Recorded:
        environment = self._ground.environment
        async with postgres(environment, seconds=SECONDS) as connection:
            return await read_back(connection)

    async def copy(self, recorded: Recorded) -> float:
        """Events a second of COPY; making its rows is not counted."""
        prepared = list(batches(recorded, CONFIG.batch_size, uuid7))
        environment = self._ground.environment
        async with postgres(environment, seconds=SECONDS) as connection:
            await forget(connection)
            await connection.execute(_SQL["settle"])
            began = time.perf_counter()
            await copy(connection, recorded, prepared)
            return self._events / (time.perf_counter() - began)
