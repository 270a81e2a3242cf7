"""Tells everybody that a worker lives. Started by `main`; `living` reads it."""

import asyncio
from contextlib import suppress
from typing import Final

from redis.asyncio import Redis

from ingest.contracts.stream import SHARDS_KEY, WORKERS_KEY, heartbeat_key
from workers.redis_io.connections import REDIS_ERRORS
from workers.stream.consumer import happens

_BEAT_SECONDS: Final = 5.0
_BEAT_EXPIRES: Final = 15


async def keep_beating(
    redis: Redis, name: str, shards: int, stop: asyncio.Event
) -> None:
    """Tell everybody that this consumer lives; again after Redis was away or emptied."""
    while True:
        with suppress(*REDIS_ERRORS):
            async with redis.pipeline(transaction=False) as pipe:
                pipe.set(heartbeat_key(name), "1", ex=_BEAT_EXPIRES)
                pipe.sadd(WORKERS_KEY, name)
                pipe.set(SHARDS_KEY, shards, nx=True)
                await pipe.execute()
        if await happens(stop, _BEAT_SECONDS):
            return
