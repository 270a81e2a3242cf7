"""Sends the heartbeats of a worker; `liveness` reads them."""

import asyncio
from contextlib import suppress
from typing import Final

from redis.asyncio import Redis

from ingest.contracts.stream import SHARDS_KEY, WORKERS_KEY, heartbeat_key
from workers.redis_io.connections import REDIS_ERRORS
from workers.stream.consumer import is_set_within

_EVERY_SECONDS: Final = 5.0
_EXPIRES_SECONDS: Final = 15


async def send_heartbeats(
    redis: Redis, name: str, shards: bytes, stop: asyncio.Event
) -> None:
    """Write a heartbeat every few seconds, also while Redis is away, until stopped.

    `shards` are as their layout writes them down.
    """
    while True:
        with suppress(*REDIS_ERRORS):
            async with redis.pipeline(transaction=False) as pipe:
                pipe.set(heartbeat_key(name), "1", ex=_EXPIRES_SECONDS)
                pipe.sadd(WORKERS_KEY, name)
                pipe.set(SHARDS_KEY, shards, nx=True)
                await pipe.execute()
        if await is_set_within(stop, _EVERY_SECONDS):
            return
