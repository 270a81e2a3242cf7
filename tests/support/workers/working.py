"""Workers inside a test: the real consumer and pipeline, on one shard."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from ingest.contracts.stream import events_key
from tests.support.directory import NOON_MS
from workers.enrich import build_enrichers
from workers.model.batch import Processor
from workers.pipeline.pipeline import Pipeline
from workers.postgres.database import open_pool
from workers.redis_io.connections import for_reader
from workers.stream.consumer import Consumer
from workers.stream.epochs import current_epoch
from workers.stream.shard import ReaderConfig, ShardReader

STREAM = events_key(0)


@asynccontextmanager
async def working(
    name: str,
    redis_url: str,
    database_url: str,
    watch: Callable[[Pipeline], Processor] = lambda pipeline: pipeline,
    **config: Any,
) -> AsyncIterator[None]:
    """A worker with connections of its own, until the block ends.

    `watch` may stand between the consumer and its pipeline.
    """
    how = ReaderConfig(**{"name": name, "block_ms": 50, **config})
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        reader = for_reader(redis_url)
        stack.push_async_callback(reader.aclose)
        pool = await stack.enter_async_context(open_pool(database_url, size=2))
        pipeline = Pipeline(
            pool=pool,
            enrich=build_enrichers(None),
            consumer=name,
            clock=lambda: NOON_MS,
            new_id=uuid7,
        )
        shard = ShardReader(reader, 0, how, partial(current_epoch, pool))
        consumer = Consumer([shard], watch(pipeline), how, stop=stop)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        group.create_task(consumer.run())
        try:
            yield
        finally:
            stop.set()


async def has_consumers(redis: Redis, count: int) -> bool:
    if not await redis.exists(STREAM):
        return False
    groups = await redis.xinfo_groups(STREAM)
    return bool(groups) and bool(count == groups[0]["consumers"])


async def is_acknowledged(redis: Redis) -> bool:
    """Whether everything in the stream is."""
    groups = await redis.xinfo_groups(STREAM)
    last = (await redis.xinfo_stream(STREAM))["last-generated-id"]
    return bool(groups) and bool(
        groups[0]["pending"] == 0 and groups[0]["last-delivered-id"] == last
    )
