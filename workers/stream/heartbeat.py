"""Sends the heartbeats of a worker; `liveness` reads them."""

import asyncio
from contextlib import suppress
from typing import Final

from redis.asyncio import Redis

from ingest.contracts.placement.change import is_leaving
from ingest.contracts.placement.layout import Layout, mismatch
from ingest.contracts.stream import (
    SHARDS_CHANGE_KEY,
    SHARDS_KEY,
    WORKERS_KEY,
    heartbeat_key,
)
from workers.redis_io.connections import REDIS_ERRORS
from workers.stream.consumer import is_set_within
from workers.stream.liveness import heartbeat

_EVERY_SECONDS: Final = 5.0
_EXPIRES_SECONDS: Final = 15


class StreamsMoved(Exception):
    """The streams are on other servers now than those that this worker reads."""


async def send_heartbeats(
    redis: Redis, name: str, layout: Layout, stop: asyncio.Event
) -> None:
    """Write a heartbeat every few seconds, also while Redis is away, until stopped.

    Raises StreamsMoved, once the change is over that moved them. Where only the number of shards has changed, those that the worker
    reads are still there, and others are read by workers that know of them.
    """
    while True:
        with suppress(*REDIS_ERRORS):
            async with redis.pipeline(transaction=False) as pipe:
                pipe.set(heartbeat_key(name), heartbeat(layout), ex=_EXPIRES_SECONDS)
                pipe.sadd(WORKERS_KEY, name)
                pipe.set(SHARDS_KEY, layout.record, nx=True, get=True)
                pipe.get(SHARDS_CHANGE_KEY)
                *_, agreed, change = await pipe.execute()
            is_there = agreed is None or layout.is_beside(agreed)
            if not (is_there or is_leaving(layout, change)):
                raise StreamsMoved(mismatch(agreed, layout.record))
        if await is_set_within(stop, _EVERY_SECONDS):
            return
