"""Looks at Redis once a second, on a connection of its own.

The only one who asks while a breaker is open, and who closes it. The write by which it
probes is also what tells operators how this edge stands.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ingest.contracts.stream import EDGES_KEY, edge_key, epoch_key
from ingest.durable.append_counts import AppendCounts
from ingest.durable.degradation import Degradation
from ingest.durable.pressure import pressure
from ingest.redis_io.client import REDIS_ERRORS, RedisBreaker, describe_error

_EVERY_SECONDS: Final = 1.0
_TOLD_SECONDS: Final = 15
#: Edges that were heard of so long ago are forgotten.
_FORGOTTEN_SECONDS: Final = 86_400


class RedisProbe:
    """One edge's look at Redis."""

    def __init__(
        self,
        redis: Redis,
        *,
        reach: RedisBreaker,
        writes: RedisBreaker,
        ladder: Degradation,
        appended: AppendCounts,
    ) -> None:
        """`redis` is guarded by no breaker.

        `reach` is open while Redis does not answer, `writes` while it takes no writes.
        `appended` is told in which life the streams are, before a breaker is closed.
        """
        self._redis = redis
        self._reach = reach
        self._writes = writes
        self._ladder = ladder
        self._appended = appended
        self._is_stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(
        self,
        name: str,
        shards: int,
        clock: Callable[[], int],
        tell: Callable[[], Mapping[str, object]],
    ) -> None:
        """`tell` says how the edge of this name stands; `clock` gives Unix ms."""

        async def run() -> None:
            while not self._is_stopping.is_set():
                await self.look(name, shards, clock() // 1000, tell())
                await self._pause()
            await self._forget(name)

        self._task = asyncio.create_task(run())

    async def stop(self) -> None:
        """Return after the look under way; nobody is told of us any more."""
        self._is_stopping.set()
        if self._task:
            await asyncio.wait([self._task])

    async def look(
        self, name: str, shards: int, now: int, told: Mapping[str, object]
    ) -> None:
        """Ask once, and open or close the breakers by the answers."""
        try:
            refusal = await self._probe(name, now, told)
            await self._number(shards)
            felt = await pressure(self._redis, shards)
        except REDIS_ERRORS as error:
            self._reach.trip(describe_error(error))
            return
        self._reach.close()
        if refusal is None:
            self._writes.close()
        else:
            self._writes.trip(describe_error(refusal))
        self._ladder.feel(felt)

    async def _probe(
        self, name: str, now: int, told: Mapping[str, object]
    ) -> RedisError | None:
        """Why Redis takes no writes, if it does not."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.set(edge_key(name), orjson.dumps(told), ex=_TOLD_SECONDS)
            pipe.zadd(EDGES_KEY, {name: now})
            pipe.zremrangebyscore(EDGES_KEY, 0, now - _FORGOTTEN_SECONDS)
            replies = await pipe.execute(raise_on_error=False)
        return replies[0] if isinstance(replies[0], RedisError) else None

    async def _number(self, shards: int) -> None:
        async with self._redis.pipeline(transaction=False) as pipe:
            for shard in range(shards):
                pipe.get(epoch_key(shard))
            lives = await pipe.execute(raise_on_error=False)
        # Who may not ask appends all the same.
        if not any(isinstance(life, Exception) for life in lives):
            self._appended.turn([life and int(life) for life in lives])

    async def _forget(self, name: str) -> None:
        if not self._reach.is_open:
            with suppress(*REDIS_ERRORS):
                await self._redis.delete(edge_key(name))
                await self._redis.zrem(EDGES_KEY, name)

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_EVERY_SECONDS):
                await self._is_stopping.wait()
