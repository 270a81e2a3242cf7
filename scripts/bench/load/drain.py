"""Events put into the streams, and one worker's way of emptying them, in this process.

What is timed is the worker's own consumer and
pipeline, from its first read to its last acknowledgement; the jobs beside them (heartbeat,
publisher, cron) do not run.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from math import inf, isfinite
from typing import Final

from redis.asyncio import Redis
from typing_extensions import override
from uuid_utils.compat import uuid7

from ingest.contracts.directory import LinkRecord
from ingest.contracts.envelope import encode
from ingest.contracts.stream import FIELD, events_key, shard_of
from scripts.bench.environment.servers import SECONDS, SHARDS
from scripts.bench.load.envelopes import envelopes
from scripts.environment import Environment
from scripts.errors import Unreachable
from workers.enrich import Enrich
from workers.model.batch import Delivery
from workers.pipeline.pipeline import Pipeline
from workers.postgres.database import Pool, open_pool
from workers.process.gc_tuning import tune_gc
from workers.redis_io.connections import for_reader
from workers.stream.consumer import Consumer
from workers.stream.epochs import current_epoch
from workers.stream.shard import EpochOf, ReaderConfig, ShardReader

#: What a worker does where nobody says otherwise.
CONFIG: Final = ReaderConfig(name="bench")
_FILL: Final = 1000
#: A run that is slower than this is broken, in events a second.
LEAST_RATE: Final = 500
#: A connection for each shard, and one to spare.
_POOL: Final = SHARDS + 1


async def fill(redis: Redis, links: Sequence[LinkRecord], events: int) -> None:
    """So many clicks as an edge would have appended them, links taking turns."""
    await append(redis, entries(links, events))


def entries(links: Sequence[LinkRecord], events: int) -> Iterator[tuple[str, bytes]]:
    """The same, not appended yet: the stream of each, and what it holds."""
    for envelope in envelopes(links, events, clock=unix_ms, new_id=uuid7):
        yield events_key(shard_of(envelope.id, SHARDS)), encode(envelope)


async def append(redis: Redis, made: Iterable[tuple[str, bytes]]) -> None:
    pipe = redis.pipeline(transaction=False)
    for key, envelope in made:
        pipe.xadd(key, {FIELD: envelope})
        if len(pipe) >= _FILL:
            await pipe.execute()
    await pipe.execute()


async def drained(
    environment: Environment, enrich: Enrich, events: int, config: ReaderConfig = CONFIG
) -> float:
    """Record so many events that wait in the streams: the seconds that it took.

    Raises Unreachable where that takes far too long.
    """
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            open_pool(environment.database_url(), size=_POOL)
        )
        goal = _Goal(events)
        epoch_of = partial(current_epoch, pool)
        shards = []
        for number in range(SHARDS):
            redis = for_reader(environment.redis_url())
            stack.push_async_callback(redis.aclose)
            shards.append(_Watched(redis, number, config, epoch_of, goal.come))
        pipeline = _pipeline(pool, enrich, config)
        consumer = Consumer(shards, pipeline, config, stop=goal.reached)
        tune_gc()
        with suppress(TimeoutError):
            async with asyncio.timeout(SECONDS + events / LEAST_RATE):
                await consumer.run()
    if not isfinite(goal.seconds):
        raise Unreachable(
            f"The worker recorded less than {events:,} events in time.",
            "it is a bug: see what `reftide worker` says of such clicks.",
        )
    return goal.seconds


def unix_ms() -> int:
    return time.time_ns() // 1_000_000


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


class _Watched(ShardReader):
    """A shard that tells of what was acknowledged."""

    def __init__(
        self,
        redis: Redis,
        number: int,
        config: ReaderConfig,
        epoch_of: EpochOf,
        tell: Callable[[int], None],
    ) -> None:
        super().__init__(redis, number, config, epoch_of)
        self._tell = tell

    @override
    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        await super().ack(deliveries)
        self._tell(len(deliveries))


def _pipeline(pool: Pool, enrich: Enrich, config: ReaderConfig) -> Pipeline:
    return Pipeline(
        pool=pool, enrich=enrich, consumer=config.name, clock=unix_ms, new_id=uuid7
    )
