"""Which workers are alive."""

from collections.abc import Awaitable, Sequence
from typing import cast

from redis.asyncio import Redis

from ingest.contracts.stream import WORKERS_KEY, heartbeat_key


async def live_workers(redis: Redis) -> Sequence[str]:
    """The names of the workers that have a heartbeat; raises Redis' exceptions."""
    # redis-py types the reply for its synchronous client too.
    members = cast("Awaitable[set[bytes]]", redis.smembers(WORKERS_KEY))
    names = sorted(name.decode() for name in await members)
    async with redis.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.exists(heartbeat_key(name))
        beats = await pipe.execute()
    return [name for name, beat in zip(names, beats, strict=True) if beat]
