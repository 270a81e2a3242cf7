"""A consumer inside a test, and entries for it on a real server."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from typing import Any

from redis.asyncio import Redis

from ingest.contracts.stream import FIELD, GROUP, epoch_key, events_key
from workers.model.batch import Delivery
from workers.redis_io.connections import for_reader
from workers.stream.consumer import Consumer
from workers.stream.shard import EpochOf, ReaderConfig, ShardReader

STREAM = events_key(0)


def counted() -> EpochOf:
    """Epochs counted from one."""
    numbers = count(1)

    async def epoch_of(redis: Redis, shard: int) -> int:
        if not await redis.exists(epoch_key(shard)):
            await redis.set(epoch_key(shard), next(numbers))
        return int(await redis.get(epoch_key(shard)))

    return epoch_of


class Recorder:
    """Remembers what it was given; `answer` may refuse, or give back less."""

    def __init__(
        self, answer: Callable[[Sequence[Delivery]], Sequence[Delivery]] = list
    ) -> None:
        self.batches: list[Sequence[Delivery]] = []
        self.settled: list[Delivery] = []
        self._answer = answer

    @property
    def payloads(self) -> list[bytes]:
        return [delivery.payload for delivery in self.settled]

    async def process(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        self.batches.append(deliveries)
        done = self._answer(deliveries)
        self.settled.extend(done)
        return done


@asynccontextmanager
async def consuming(
    url: str, processor: Recorder, *, shards: int = 1, **config: Any
) -> AsyncIterator[Sequence[ShardReader]]:
    """Consume until the block ends; then everything in hand is settled or abandoned."""
    how = ReaderConfig(**{"name": "one", "block_ms": 50, **config})
    epoch_of = counted()
    clients = [for_reader(url) for _ in range(shards)]
    parts = [ShardReader(each, n, how, epoch_of) for n, each in enumerate(clients)]
    stop = asyncio.Event()
    consumer = Consumer(parts, processor, how, stop=stop, pause=lambda _: 0.01)
    async with AsyncExitStack() as stack:
        for client in clients:
            stack.push_async_callback(client.aclose)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        group.create_task(consumer.run())
        try:
            yield parts
        finally:
            stop.set()


async def add(redis: Redis, *payloads: bytes, shard: int = 0) -> None:
    for payload in payloads:
        await redis.xadd(events_key(shard), {FIELD: payload})


async def pending(redis: Redis) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await redis.xpending_range(
        STREAM, GROUP, "-", "+", 100
    )
    return found


def acknowledged(redis: Redis) -> Callable[[], Any]:
    async def holds() -> bool:
        groups = await redis.xinfo_groups(STREAM)
        return bool(groups) and groups[0]["pending"] == 0 and groups[0]["lag"] == 0

    return holds


def has(recorder: Recorder, *payloads: bytes) -> Callable[[], Any]:
    async def holds() -> bool:
        return list(payloads) == recorder.payloads

    return holds


async def left_pending_by(redis: Redis, name: str, *payloads: bytes) -> None:
    """What a killed consumer leaves: entries it was given and did not acknowledge."""
    await redis.xgroup_create(STREAM, GROUP, "0", mkstream=True)
    await add(redis, *payloads)
    await redis.xreadgroup(GROUP, name, {STREAM: ">"})


async def is_so(holds: bool) -> bool:  # noqa: FBT001 -- a condition
    return holds
