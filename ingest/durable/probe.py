"""Probes Redis once a second, on a connection of its own.

Only the probe asks Redis while a breaker is open, and only it closes breakers. Its test write
is the edge's state, which operators' commands show.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import count
from typing import Final, NamedTuple

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ingest.contracts.stream import (
    EDGES_KEY,
    edge_key,
    epoch_key,
)
from ingest.contracts.variables import NO_REPLICAS, Replicas
from ingest.durable.comparison import Comparisons
from ingest.durable.degradation import Degradation
from ingest.durable.edge_clock import EdgeClock
from ingest.durable.pressure import pressure
from ingest.redis_io.client import REDIS_ERRORS, RedisBreaker, describe_error
from ingest.redis_io.replicated import confirmation, shortfall

_EVERY_SECONDS: Final = 1.0
_EXPIRES_SECONDS: Final = 15
#: After so many good probes a breaker that opens does not open again, but anew.
_CALM_PROBES: Final = 30
_MOST_NEEDED: Final = 16
#: Edges that are gone are looked for every so many probes.
_PROBES_OF_FORMER: Final = 10
#: Edges that have not written for so long are dropped from the list.
_KEPT_SECONDS: Final = 86_400


class Breakers(NamedTuple):
    """Open while Redis does not answer, and while it takes no writes.

    It takes a write that so many `replicas` confirm.
    """

    reach: RedisBreaker
    writes: RedisBreaker
    replicas: Replicas = NO_REPLICAS


class Recovery:
    """How many probes in a row must succeed before a breaker is closed.

    One at first; twice as many whenever it opened again soon. So a server that answers probes
    and fails appends is asked less and less, and the edge stays at its level.
    """

    def __init__(self) -> None:
        """Begin with a server that is well."""
        self._is_open = False
        self._needed = 1
        self._good = 0
        self._calm = _CALM_PROBES

    def failed(self) -> None:
        """Count a probe that failed."""
        self._good = 0
        self._begin()

    def is_over(self, *, is_open: bool) -> bool:
        """Count a probe that succeeded; whether the breaker may be closed."""
        if not is_open:
            self._is_open = False
            self._good = 0
            self._calm += 1
            return True
        self._begin()
        self._good += 1
        if self._good < self._needed:
            return False
        self._is_open = False
        self._good = self._calm = 0
        return True

    def _begin(self) -> None:
        if not self._is_open:
            self._is_open = True
            is_soon = self._calm < _CALM_PROBES
            self._needed = min(2 * self._needed, _MOST_NEEDED) if is_soon else 1


class RedisProbe:
    """One edge's probe of Redis."""

    def __init__(
        self,
        redis: Redis,
        *,
        breakers: Breakers,
        degradation: Degradation,
        comparisons: Comparisons,
        clock: EdgeClock,
        can_spool: Callable[[], bool],
    ) -> None:
        """`redis` has no breaker, and a connection that nobody waits for.

        `comparisons` get the streams' epochs before a breaker is closed, `clock` Redis' time.
        While not `can_spool`, a breaker is closed as soon as Redis answers.
        """
        self._redis = redis
        self._reach, self._writes, self._replicas = breakers
        self._degradation = degradation
        self._comparisons = comparisons
        self._clock = clock
        self._can_spool = can_spool
        self._recovery, self._recovery_of_writes = Recovery(), Recovery()
        self._is_stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        #: When Redis last answered a probe, Unix milliseconds by the edge's clock.
        self.answered_at: int | None = None

    def start(
        self,
        name: str,
        shards: int,
        describe: Callable[[], Mapping[str, object]],
    ) -> None:
        """`describe` gives the state of the edge `name`."""

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
        self, name: str, shards: int, now: int, description: Mapping[str, object]
    ) -> None:
        """Ask Redis once, and open or close the breakers accordingly."""
        # What is tripped meanwhile may be younger than the answer.
        were_refused = self._writes.is_open
        try:
            await self.read_clock()
            refusal = await self._probe(name, now, description)
            await self._read_epochs(shards)
            observed = await pressure(self._redis, shards)
        except REDIS_ERRORS as error:
            self._reach.trip(describe_error(error))
            self._recovery.failed()
            return
        self.answered_at = self._clock.now()
        # Without a spool, an edge that did not ask Redis would refuse.
        is_over = self._recovery.is_over(is_open=self._reach.is_open)
        if is_over or not self._can_spool():
            self._reach.close()
        if refusal is not None:
            self._writes.trip(refusal)
            self._recovery_of_writes.failed()
        elif self._recovery_of_writes.is_over(is_open=were_refused) and were_refused:
            self._writes.close()
        self._degradation.observe(observed)

    async def read_clock(self) -> None:
        """Correct the edge's clock by Redis'; raises REDIS_ERRORS."""
        before = self._clock.machine()
        seconds, micros = await self._redis.time()
        at = seconds * 1000 + micros // 1000
        self._clock.observe(at, before, self._clock.machine())

    async def _probe(
        self, name: str, now: int, description: Mapping[str, object]
    ) -> str | None:
        """Write the edge's state; why Redis takes no writes, if so."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.set(edge_key(name), orjson.dumps(description), ex=_EXPIRES_SECONDS)
            pipe.zadd(EDGES_KEY, {name: now})
            pipe.zremrangebyscore(EDGES_KEY, 0, now - _KEPT_SECONDS)
            if self._replicas.count:
                pipe.execute_command(*confirmation(self._replicas))
            replies = await pipe.execute(raise_on_error=False)
        if isinstance(replies[0], RedisError):
            return describe_error(replies[0])
        return shortfall(replies[-1], self._replicas) if self._replicas.count else None

    async def _read_epochs(self, shards: int) -> None:
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.info("server")
            for shard in range(shards):
                pipe.get(epoch_key(shard))
            server, *found = await pipe.execute(raise_on_error=False)
        # An edge without permission for GET still appends.
        if any(isinstance(each, Exception) for each in (server, *found)):
            return
        epochs = [each and int(each) for each in found]
        await self._comparisons.compare(server["run_id"], epochs)

    async def _deregister(self, name: str) -> None:
        if not self._reach.is_open:
            with suppress(*REDIS_ERRORS):
                await self._redis.delete(edge_key(name))
                await self._redis.zrem(EDGES_KEY, name)

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_EVERY_SECONDS):
                await self._is_stopping.wait()
