"""`reftide bench worker`: one worker process against COPY of the same rows.

What is timed is the worker's own consumer and pipeline, from its first read to its last
acknowledgement; the jobs beside them (heartbeat, publisher, cron) do not run.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from math import inf, isfinite
from os import cpu_count
from typing import Final

from redis.asyncio import Redis
from typing_extensions import override
from uuid_utils.compat import uuid7

from ingest.contracts.envelope import encode
from ingest.contracts.stream import FIELD, events_key, shard_of
from scripts.bench.copying import Recorded, batches, copy, read_back
from scripts.bench.envelopes import envelopes
from scripts.bench.ground import LINKS, SECONDS, SHARDS, Ground
from scripts.bench.loops import runner
from scripts.bench.runs import Result, Tell, paired
from scripts.output import Unreachable
from scripts.queries import statements
from scripts.servers import Connection, postgres, redis_server
from workers.batch import Delivery
from workers.connections import for_reader
from workers.consumer import Consumer
from workers.database import Pool, open_pool
from workers.enrich import Enrich, build_enrichers
from workers.epochs import PostgresRegistry
from workers.pipeline import Pipeline
from workers.shard import Habits, Shard

_SQL: Final = statements("bench")
_HABITS: Final = Habits(name="bench")
_FILL: Final = 1000
#: A run that is slower than this is broken, in events a second.
_LEAST_RATE: Final = 500
#: A connection for each shard, and one to spare.
_POOL: Final = SHARDS + 1


def measure(ground: Ground, runs: int, events: int, tell: Tell) -> Result:
    """Events a second of one process, `runs` times so many clicks."""
    with runner() as loop:
        bench = _Bench(ground, events)
        tell(f"recording {events:,} clicks for COPY to repeat")
        loop.run(bench.work())
        recorded = loop.run(bench.recorded())
        pairs = paired(
            lambda: loop.run(bench.work()),
            lambda: loop.run(bench.copy(recorded)),
            runs,
            tell,
        )
    conditions = {
        "baseline": "COPY of the rows of events and customers, links' counters updated",
        "events": events,
        "links": LINKS,
        "shards": SHARDS,
        "batch_size": _HABITS.batch_size,
        "new_customers": len(recorded.customers),
        "cores": cpu_count(),
    }
    return Result(name="worker", unit="events/s", pairs=pairs, conditions=conditions)


class _Bench:
    """One worker's and one COPY's way of recording the same clicks, from nothing."""

    def __init__(self, ground: Ground, events: int) -> None:
        self._ground = ground
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
            await _empty(connection)
            await redis.flushdb()
            await self._fill(redis)
            await connection.execute(_SQL["settle"])
            seconds = await self._drained()
            found = await connection.fetchval(_SQL["count"])
        if found != self._events or not isfinite(seconds):
            raise Unreachable(
                f"The worker recorded {found} of {self._events} events in time.",
                "it is a bug: see what `reftide worker` says of such clicks.",
            )
        return self._events / seconds

    async def recorded(self) -> Recorded:
        environment = self._ground.environment
        async with postgres(environment, seconds=SECONDS) as connection:
            return await read_back(connection)

    async def copy(self, recorded: Recorded) -> float:
        """Events a second of COPY; making its rows is not counted."""
        prepared = list(batches(recorded, _HABITS.batch_size, uuid7))
        environment = self._ground.environment
        async with postgres(environment, seconds=SECONDS) as connection:
            await _empty(connection)
            await connection.execute(_SQL["settle"])
            began = time.perf_counter()
            await copy(connection, recorded, prepared)
            return self._events / (time.perf_counter() - began)

    async def _fill(self, redis: Redis) -> None:
        pipe = redis.pipeline(transaction=False)
        for envelope in envelopes(
            self._ground.links, self._events, clock=_unix_ms, new_id=uuid7
        ):
            shard = shard_of(envelope.id, SHARDS)
            pipe.xadd(events_key(shard), {FIELD: encode(envelope)})
            if len(pipe) >= _FILL:
                await pipe.execute()
        await pipe.execute()

    async def _drained(self) -> float:
        """Run a consumer until it has acknowledged everything; the seconds of that."""
        environment = self._ground.environment
        async with AsyncExitStack() as stack:
            pool = await stack.enter_async_context(
                open_pool(environment.database_url(), size=_POOL)
            )
            goal = _Goal(self._events)
            registry = PostgresRegistry(pool)
            shards = []
            for number in range(SHARDS):
                redis = for_reader(environment.redis_url())
                stack.push_async_callback(redis.aclose)
                shards.append(_Watched(redis, number, _HABITS, registry, goal.come))
            pipeline = _pipeline(pool, self._enrich)
            consumer = Consumer(shards, pipeline, _HABITS, stop=goal.reached)
            with suppress(TimeoutError):
                async with asyncio.timeout(SECONDS + self._events / _LEAST_RATE):
                    await consumer.run()
            return goal.seconds


class _Goal:
    """So many entries acknowledged, and how long that took."""

    def __init__(self, entries: int) -> None:
        self.reached = asyncio.Event()
        self.seconds = inf
        self._left = entries
        self._began = time.perf_counter()

    def come(self, entries: int) -> None:
        self._left -= entries
        if self._left <= 0:
            self.seconds = time.perf_counter() - self._began
            self.reached.set()


class _Watched(Shard):
    """A shard that tells of what was acknowledged."""

    def __init__(
        self,
        redis: Redis,
        number: int,
        habits: Habits,
        registry: PostgresRegistry,
        tell: Callable[[int], None],
    ) -> None:
        super().__init__(redis, number, habits, registry)
        self._tell = tell

    @override
    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        await super().ack(deliveries)
        self._tell(len(deliveries))


def _pipeline(pool: Pool, enrich: Enrich) -> Pipeline:
    return Pipeline(
        pool=pool, enrich=enrich, consumer=_HABITS.name, clock=_unix_ms, new_id=uuid7
    )


async def _empty(connection: Connection) -> None:
    for step in ("forget", "zero_links", "zero_partners", "tidy"):
        await connection.execute(_SQL[step])


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000
