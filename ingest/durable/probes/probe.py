"""Probes Redis once a second, on a connection of its own.

Only the probe asks Redis while a breaker is open, and only it closes breakers. Its test write
is the edge's state, which operators' commands show.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from typing import Final

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ingest.contracts.stream import EDGES_KEY, SHARDS_KEY, edge_key
from ingest.durable.comparison import Comparisons
from ingest.durable.edge_clock import EdgeClock
from ingest.durable.probes.epochs import EpochReader
from ingest.durable.probes.pressure import Look, look
from ingest.durable.probes.recovery import BreakerKeeper
from ingest.durable.servers import Breakers
from ingest.redis_io.client import REDIS_ERRORS, describe_error
from ingest.redis_io.replicated import confirmation, shortfall

_EVERY_SECONDS: Final = 1.0
_EXPIRES_SECONDS: Final = 15
#: Edges that are gone are looked for every so many probes.
_PROBES_OF_FORMER: Final = 10
#: Edges that have not written for so long are dropped from the list.
_KEPT_SECONDS: Final = 86_400


class RedisProbe:
    """One edge's probe of Redis."""

    def __init__(
        self,
        redis: Redis,
        *,
        breakers: Breakers,
        observe: Callable[[Sequence[int], Look], str | None],
        comparisons: Comparisons,
        clock: EdgeClock,
        can_spool: Callable[[], bool],
    ) -> None:
        """`redis` has no breaker, and a connection that nobody waits for.

        `comparisons` get the streams' epochs before a breaker is closed, `clock` Redis' time,
        `observe` what is seen of the shards, and which there are: it says why they take nothing,
        if so. While not `can_spool`, a breaker is closed as soon as Redis answers.
        """
        self._redis = redis
        self._reach, self._writes, self._replicas = breakers
        self._keeper = BreakerKeeper(breakers, can_spool)
        self._epochs = EpochReader(redis, comparisons)
        self._observe = observe
        self._comparisons = comparisons
        self._clock = clock
        self._is_stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        #: When Redis last answered a probe, Unix milliseconds by the edge's clock.
        self.answered_at: int | None = None

    def start(
        self,
        name: str,
        shards: Sequence[int],
        describe: Callable[[], Mapping[str, object]],
    ) -> None:
        """`describe` gives the state of the edge `name`; no shards if they are elsewhere."""

        async def run() -> None:
            for number in count():
                if self._is_stopping.is_set():
                    break
                if number % _PROBES_OF_FORMER == 0:
                    await self._comparisons.adopt(self._clock.now())
                await self.probe(name, shards, self._clock.now() // 1000, describe())
                await self._pause()
            await self._deregister(name)

        self._task = asyncio.create_task(run())

    async def stop(self) -> None:
        """Return after the current probe; the edge's state is deleted."""
        self._is_stopping.set()
        if self._task:
            await asyncio.wait([self._task])

    async def probe(
        self,
        name: str,
        shards: Sequence[int],
        now: int,
        description: Mapping[str, object],
    ) -> None:
        """Ask Redis once, and open or close the breakers accordingly."""
        # What is tripped meanwhile may be younger than the answer.
        were_refused = self._writes.is_open
        try:
            await self.read_clock()
            refusal, agreed = await self._probe(name, now, description)
            await self._compare(shards)
            seen = await look(self._redis, shards)
        except REDIS_ERRORS as error:
            self._keeper.failed(error)
            return
        self.answered_at = self._clock.now()
        if not isinstance(agreed, RedisError):
            seen = seen._replace(knows_agreed=True, agreed=agreed)
        problem = self._observe(shards, seen)
        self._keeper.answered(refusal or problem, were_refused=were_refused)

    async def read_clock(self) -> None:
        """Correct the edge's clock by Redis'; raises REDIS_ERRORS."""
        before = self._clock.machine()
        seconds, micros = await self._redis.time()
        at = seconds * 1000 + micros // 1000
        self._clock.observe(at, before, self._clock.machine())

    async def _probe(
        self, name: str, now: int, description: Mapping[str, object]
    ) -> tuple[str | None, bytes | RedisError | None]:
        """Write the edge's state; why Redis takes no writes, if so, and which shards there are.

        The shards are an error if Redis does not say.
        """
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.set(edge_key(name), orjson.dumps(description), ex=_EXPIRES_SECONDS)
            pipe.zadd(EDGES_KEY, {name: now})
            pipe.zremrangebyscore(EDGES_KEY, 0, now - _KEPT_SECONDS)
            pipe.get(SHARDS_KEY)
            if self._replicas.count:
                pipe.execute_command(*confirmation(self._replicas))
            written, _, _, agreed, *confirmed = await pipe.execute(raise_on_error=False)
        if isinstance(written, RedisError):
            return describe_error(written), agreed
        return (shortfall(confirmed[0], self._replicas) if confirmed else None), agreed

    async def _compare(self, shards: Sequence[int]) -> None:
        run = await self._epochs.read(shards)
        if run is not None:
            await self._comparisons.tell(run)

    async def _deregister(self, name: str) -> None:
        if not self._reach.is_open:
            with suppress(*REDIS_ERRORS):
                await self._redis.delete(edge_key(name))
                await self._redis.zrem(EDGES_KEY, name)

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_EVERY_SECONDS):
                await self._is_stopping.wait()
