"""Which workers are alive. All functions raise Redis' exceptions."""

from collections.abc import Awaitable, Iterable, Sequence
from typing import cast

from redis.asyncio import Redis

from ingest.contracts.stream import WORKERS_KEY, heartbeat_key


async def live_workers(redis: Redis) -> Sequence[str]:
    """The names of the workers that have a heartbeat, sorted."""
    return await with_heartbeat(redis, await worker_names(redis))


async def worker_names(redis: Redis) -> set[str]:
    """The names of all workers that were not garbage-collected, dead ones too."""
    # redis-py types the reply for its synchronous client too.
    members = cast("Awaitable[set[bytes]]", redis.smembers(WORKERS_KEY))
    return {name.decode() for name in await members}


async def with_heartbeat(redis: Redis, names: Iterable[str]) -> Sequence[str]:
    """Those of these workers that have a heartbeat, sorted."""
    asked = sorted(names)
    async with redis.pipeline(transaction=False) as pipe:
        for name in asked:
            pipe.exists(heartbeat_key(name))
        beats = await pipe.execute()
    return [name for name, beat in zip(asked, beats, strict=True) if beat]
