"""The periodic jobs and their schedule.

Every job is idempotent and may run on any worker at any time; where it matters, a lock in
PostgreSQL lets one run through.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from arq.cron import CronJob
from redis.asyncio import Redis
from typing_extensions import override

from ingest.contracts.directory import GENERATION_KEY, STATS_REST_KEY
from ingest.contracts.placement.layout import Layout
from ingest.contracts.stream import SHARDS_KEY
from ingest.contracts.telemetry import LogEvent
from workers.erasure.runner import Eraser
from workers.facets import facets
from workers.jobs.arq_host import JobSet
from workers.jobs.cleanup import (
    fold_ledger,
    sweep_claims,
    sweep_clicks,
    sweep_visits,
)
from workers.postgres.database import (
    Connection,
    Pool,
    fetch,
    transaction,
    translate_errors,
)
from workers.postgres.sql import statements
from workers.publish.publisher import (
    CHUNK,
    FREQUENT_PARTS,
    SLOW_PARTS,
    URGENT_PARTS,
    publish_changes,
    publish_if_missing,
)
from workers.publish.retention import Retention
from workers.quarantine.quarantine import expire
from workers.redis_io.connections import QUEUE, redis_errors
from workers.settings import QUARANTINE_DAYS
from workers.stream.consumer_gc import collect_consumers
from workers.stream.epochs import count_losses, sample, take_vanished
from workers.stream.trimmer import Trimmer

_SQL: Final = statements("jobs/schedule")

_ACQUIRE_SECONDS: Final = 5.0
#: Enough to publish the whole directory of a large installation.
_FULL_PUBLISH_SECONDS: Final = 600

#: Half of the time an empty directory may last, so that one lost run does not matter.
_DIRECTORY_EVERY: Final = 2
#: For what runs often.
_OFTEN_SECONDS: Final = 60
_SECOND_US: Final = 1_000_000
#: Within a second, so that not all processes of a machine wake up at once.
_FIRST_US: Final = 123_456
#: How often as long as stats took nobody publishes more of them.
_STATS_REST: Final = 4
_BRIEF_REST_MS: Final = 500
_SAMPLE_EVERY: Final = 5
_REAP_EVERY: Final = 10
_ERASE_EVERY: Final = 5


class Jobs(JobSet):
    """The periodic jobs of one worker."""

    def __init__(
        self,
        pool: Pool,
        redis: Redis,
        layout: Layout,
        keep_hours: int = 24,
        quarantine_days: int = QUARANTINE_DAYS,
        kept: Retention = Retention(),  # noqa: B008 -- it is frozen
    ) -> None:
        """`keep_hours`: for how long streams keep entries that every group has read.

        `quarantine_days`: for how long quarantine keeps what clients caused; 0: for ever.
        `kept`: for how long the directory keeps customers.
        """
        shards = layout.numbers
        self._eraser = Eraser(pool, redis, shards)
        self._trimmer = Trimmer(redis, shards, keep_hours)
        self._quarantine_days = quarantine_days
        self._kept = kept
        self._record = layout.record
        self._pool = pool
        self._redis = redis
        self._shards = shards
        super().__init__(QUEUE)

    @override
    def crons(self) -> list[CronJob]:
        return [
            # So that edges know within a second. A job that runs is not started again, so
            # each has what takes as long as the others of its own.
            *self._often(self.publish_urgent_changes, 4),
            *self._often(self.publish_changes, 2),
            *self._often(self.publish_slow_changes, 2, _FULL_PUBLISH_SECONDS),
            self.cron(
                self.ensure_directory,
                second=set(range(0, 60, _DIRECTORY_EVERY)),
                run_at_startup=True,
                timeout=_FULL_PUBLISH_SECONDS,
            ),
            self.cron(self.sample_epochs, second=set(range(0, 60, _SAMPLE_EVERY))),
            self.cron(
                partial(self._if_current, self._eraser.work),
                "erase",
                second=set(range(2, 60, _ERASE_EVERY)),
                timeout=_FULL_PUBLISH_SECONDS,
            ),
            # Visits may turn out to be an erased person's.
            self.cron(
                partial(self._if_current, self._eraser.grow),
                "grow_erasures",
                second=43,
            ),
            self.cron(self.make_partitions, minute=17, run_at_startup=True),
            self.cron(
                partial(facets.make_next, self._pool),
                "make_facets",
                second=None,
                timeout=_FULL_PUBLISH_SECONDS,
            ),
            self.cron(partial(facets.mark_recent, self._pool), "mark_facets", minute=7),
            # Not all in the same second.
            self.cron(self._trimmer.trim, "trim_streams", second=13),
            self.cron(
                partial(self._if_current, self.count_losses), "count_losses", second=33
            ),
            self.cron(
                partial(collect_consumers, self._redis, self._shards),
                "reap_consumers",
                minute=set(range(0, 60, _REAP_EVERY)),
                second=53,
            ),
            self._cleanup("sweep_claims", 27, "claims.swept", sweep_claims),
            self._cleanup("sweep_clicks", 22, "clicks.swept", sweep_clicks),
            self._cleanup("sweep_visits", 32, "visits.swept", sweep_visits),
            self._cleanup("fold_ledger", 37, "ledger.folded", fold_ledger),
            self._cleanup("expire_quarantine", 47, "quarantine.expired", self._expire),
        ]

    async def _if_current(self, body: Callable[[], Awaitable[object]]) -> None:
        """Leave what concerns all shards to workers that know all, once the shards changed.

        To others, shards that they do not know are streams that ended.
        """
        with redis_errors():
            found = await self._redis.get(SHARDS_KEY)
        if found in {None, self._record}:
            await body()

    def _often(
        self,
        body: Callable[[], Awaitable[object]],
        times: int,
        timeout: int = _OFTEN_SECONDS,
    ) -> list[CronJob]:
        """Crons that run so many times a second, since one runs once."""
        moments = range(_FIRST_US, _SECOND_US, _SECOND_US // times)
        return [
            self.cron(body, second=None, microsecond=at, timeout=timeout)
            for at in moments
        ]

    async def publish_urgent_changes(self) -> None:
        """Publish what operators change to the edges."""
        await self._publish(URGENT_PARTS)

    async def publish_changes(self) -> None:
        """Publish what follows from events."""
        await self._publish(FREQUENT_PARTS)

    async def publish_slow_changes(self) -> None:
        """Publish stats, unless they rest: a partner of millions takes a core for seconds."""
        if await self._redis.exists(STATS_REST_KEY):
            return
        clock = asyncio.get_running_loop().time
        began = clock()
        await self._publish(SLOW_PARTS)
        rest_ms = int(_STATS_REST * (clock() - began) * 1000)
        if rest_ms >= _BRIEF_REST_MS:
            await self._redis.set(STATS_REST_KEY, b"", px=rest_ms)

    async def _publish(self, parts: Sequence[str]) -> None:
        if not await self._redis.exists(GENERATION_KEY):
            return  # else the publisher of the whole directory might never get its lock
        total, count = 0, CHUNK
        async with self._connection() as connection:
            while count >= CHUNK:
                count = await publish_changes(
                    connection, self._redis, self._kept, parts
                )
                total += count
        if total:
            self.log.info("directory.published", changes=total)

    async def ensure_directory(self) -> None:
        """Publish the whole directory if Redis has lost it."""
        async with self._connection() as connection:
            if await publish_if_missing(connection, self._redis, self._kept):
                self.log.info("directory.published", changes="all")

    async def sample_epochs(self) -> None:
        """Store how many entries the streams have had, and what vanished from them."""
        async with self._connection() as connection:
            await take_vanished(connection, self._redis)
        async with transaction(self._pool) as connection:
            if await connection.fetchval(_SQL["try_lock"], "sample_epochs"):
                await sample(connection, self._redis, self._shards)

    async def make_partitions(self) -> None:
        """Create the partitions of the coming months."""
        ((made,),) = await fetch(self._pool, _SQL["partitions_make"])
        if made:
            self.log.info("partitions.made", count=made)

    async def count_losses(self) -> None:
        """Count the entries that were deleted from the streams unread."""
        async with transaction(self._pool) as connection:
            if await connection.fetchval(_SQL["try_lock"], "count_losses"):
                await count_losses(connection, self._redis, self._shards)

    async def _expire(self, pool: Pool) -> int:
        return await expire(pool, self._quarantine_days, "a worker")

    def _cleanup(
        self,
        name: str,
        minute: int,
        event: LogEvent,
        delete: Callable[[Pool], Awaitable[int]],
    ) -> CronJob:
        """An hourly job that deletes rows, and logs an event if there were any."""

        async def body() -> None:
            if count := await delete(self._pool):
                self.log.info(event, count=count)

        return self.cron(body, name, minute=minute)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        """A connection for several transactions."""
        with translate_errors():
            async with self._pool.acquire(timeout=_ACQUIRE_SECONDS) as connection:
                yield connection
