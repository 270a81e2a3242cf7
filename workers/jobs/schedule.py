"""The periodic jobs and their schedule.

Every job is idempotent and may run on any worker at any time; where it matters, a lock in
PostgreSQL lets one run through.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from arq.cron import CronJob
from redis.asyncio import Redis
from typing_extensions import override

from workers.erasure.runner import Eraser
from workers.jobs.cleanup import fold_ledger, sweep_claims, sweep_visits
from workers.jobs.job_set import JobSet
from workers.postgres.database import (
    Connection,
    Pool,
    fetch,
    transaction,
    translate_errors,
)
from workers.postgres.sql import statements
from workers.publish.publisher import CHUNK, publish_changes, publish_if_missing
from workers.quarantine.quarantine import expire
from workers.redis_io.connections import QUEUE
from workers.settings import QUARANTINE_DAYS
from workers.stream.consumer_gc import collect_consumers
from workers.stream.epochs import sample
from workers.stream.lost_entries import count_losses
from workers.stream.trimmer import Trimmer

_SQL: Final = statements("jobs/schedule")

_ACQUIRE_SECONDS: Final = 5.0
#: Enough to publish the whole directory of a large installation.
_FULL_PUBLISH_SECONDS: Final = 600

#: Half of the time an empty directory may last, so that one lost run does not matter.
_DIRECTORY_EVERY: Final = 2
#: Half a second after arq's default microsecond.
_HALF_SECOND_US: Final = 623_456
_SAMPLE_EVERY: Final = 5
_REAP_EVERY: Final = 10
_ERASE_EVERY: Final = 5


class Jobs(JobSet):
    """The periodic jobs of one worker."""

    def __init__(
        self,
        pool: Pool,
        redis: Redis,
        shards: int,
        keep_hours: int = 24,
        quarantine_days: int = QUARANTINE_DAYS,
    ) -> None:
        """`keep_hours`: for how long streams keep entries that every group has read.

        `quarantine_days`: for how long quarantine keeps what clients caused; 0: for ever.
        """
        self._eraser = Eraser(pool, redis, range(shards))
        self._trimmer = Trimmer(redis, range(shards), keep_hours)
        self._quarantine_days = quarantine_days
        self._pool = pool
        self._redis = redis
        self._shards = range(shards)
        super().__init__(QUEUE)

    @override
    def crons(self) -> list[CronJob]:
        return [
            # Twice a second, so that edges know within one; a cron runs once a second.
            self.cron(self.publish_changes, second=None),
            self.cron(self.publish_changes, second=None, microsecond=_HALF_SECOND_US),
            self.cron(
                self.ensure_directory,
                second=set(range(0, 60, _DIRECTORY_EVERY)),
                run_at_startup=True,
                timeout=_FULL_PUBLISH_SECONDS,
            ),
            self.cron(self.sample_epochs, second=set(range(0, 60, _SAMPLE_EVERY))),
            self.cron(
                self.erase,
                second=set(range(2, 60, _ERASE_EVERY)),
                timeout=_FULL_PUBLISH_SECONDS,
            ),
            self.cron(self.grow_erasures, second=43),
            self.cron(self.make_partitions, minute=17, run_at_startup=True),
            # Not all in the same second.
            self.cron(self.trim_streams, second=13),
            self.cron(self.count_losses, second=33),
            self.cron(
                self.reap_consumers, minute=set(range(0, 60, _REAP_EVERY)), second=53
            ),
            self.cron(self.sweep_claims, minute=27),
            self.cron(self.sweep_visits, minute=32),
            self.cron(self.fold_ledger, minute=37),
            self.cron(self.expire_quarantine, minute=47),
        ]

    async def publish_changes(self) -> None:
        """Publish changes to the edges."""
        total = 0
        async with self._connection() as connection:
            while count := await publish_changes(connection, self._redis):
                total += count
                if count < CHUNK:
                    break
        if total:
            self.log.info("directory.published", changes=total)

    async def ensure_directory(self) -> None:
        """Publish the whole directory if Redis has lost it."""
        async with self._connection() as connection:
            if await publish_if_missing(connection, self._redis):
                self.log.info("directory.published", changes="all")

    async def sample_epochs(self) -> None:
        """Store how many entries the streams have had."""
        async with transaction(self._pool) as connection:
            if await connection.fetchval(_SQL["try_lock"], "sample_epochs"):
                await sample(connection, self._redis, self._shards)

    async def erase(self) -> None:
        """Continue erasures that `reftide erase` began."""
        await self._eraser.work()

    async def grow_erasures(self) -> None:
        """Extend erasures by visits that turned out to be the person's."""
        await self._eraser.grow()

    async def make_partitions(self) -> None:
        """Create the partitions of the coming months."""
        ((made,),) = await fetch(self._pool, _SQL["partitions_make"])
        if made:
            self.log.info("partitions.made", count=made)

    async def trim_streams(self) -> None:
        """Delete stream entries that no group needs any more."""
        await self._trimmer.trim()

    async def count_losses(self) -> None:
        """Count the entries that were deleted from the streams unread."""
        async with transaction(self._pool) as connection:
            if await connection.fetchval(_SQL["try_lock"], "count_losses"):
                await count_losses(connection, self._redis, self._shards)

    async def reap_consumers(self) -> None:
        """Delete the consumers of workers that are gone."""
        await collect_consumers(self._redis, self._shards)

    async def sweep_claims(self) -> None:
        """Delete expired claims of idempotency keys."""
        if count := await sweep_claims(self._pool):
            self.log.info("claims.swept", count=count)

    async def sweep_visits(self) -> None:
        """Delete the windows of clicks that are not compared any more."""
        if count := await sweep_visits(self._pool):
            self.log.info("visits.swept", count=count)

    async def fold_ledger(self) -> None:
        """Merge the ledger rows of workers that are gone."""
        if count := await fold_ledger(self._pool):
            self.log.info("ledger.folded", count=count)

    async def expire_quarantine(self) -> None:
        """Discard old quarantined entries that clients caused."""
        if count := await expire(self._pool, self._quarantine_days, "a worker"):
            self.log.info("quarantine.expired", count=count)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        """A connection for several transactions."""
        with translate_errors():
            async with self._pool.acquire(timeout=_ACQUIRE_SECONDS) as connection:
                yield connection
