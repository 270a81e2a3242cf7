"""What workers do by the clock. arq runs these; `main` starts arq.

Every body may run at any time, on any worker, as often as it likes: a lock in Postgres lets
one of them through, and what was done already is not done again.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

from arq.connections import ArqRedis
from arq.cron import CronJob, cron
from arq.worker import Function, Worker
from redis.asyncio import Redis

from ingest.contracts.metrics.worker import JOBS
from ingest.contracts.telemetry import Log
from workers.erasure.runner import Eraser
from workers.jobs.cleanup import fold_ledger, sweep_claims
from workers.postgres.database import Connection, Pool, mapped, transaction
from workers.postgres.sql import statements
from workers.publish.publisher import CHUNK, publish_changes, publish_if_missing
from workers.quarantine.budget import expire
from workers.redis_io.connections import QUEUE
from workers.settings import QUARANTINE_DAYS
from workers.stream.consumer_gc import reap
from workers.stream.epochs import sample
from workers.stream.lost_entries import count_losses
from workers.stream.trimmer import Trimmer

_SQL: Final = statements("jobs/schedule")

_POLL_SECONDS: Final = 0.2
_ACQUIRE_SECONDS: Final = 5.0
_HEALTH_SECONDS: Final = 15
#: Longer than a database that does not answer is waited for: what arq cancels instead would
#: hang in asyncpg until that database answers.
_TIMEOUT_SECONDS: Final = 60
#: For the whole directory of a large installation.
_WHOLE_SECONDS: Final = 600

#: Half of what an empty directory may last, so that a run that gets lost does not matter.
_LOOK_EVERY: Final = 2
#: Half a second after arq's own microsecond of every second.
_HALF_LATER: Final = 623_456
_SAMPLE_EVERY: Final = 5
_REAP_EVERY: Final = 10
_ERASE_EVERY: Final = 5


class Jobs:
    """The jobs, and what they work with."""

    def __init__(
        self,
        pool: Pool,
        redis: Redis,
        shards: int,
        keep_hours: int = 24,
        quarantine_days: int = QUARANTINE_DAYS,
    ) -> None:
        """`keep_hours`: for how long the streams keep what everybody has read.

        `quarantine_days`: for how long quarantine keeps what clients caused; 0: for good.
        """
        self._eraser = Eraser(pool, redis, range(shards))
        self._trimmer = Trimmer(redis, range(shards), keep_hours)
        self._quarantine_days = quarantine_days
        self._pool = pool
        self._redis = redis
        self._shards = range(shards)
        self._running: set[str] = set()
        self._failing: set[str] = set()
        self._log = Log()
        self.queue = QUEUE

    def functions(self) -> Sequence[Function]:
        """None: everything here runs by the clock."""
        return ()

    def crons(self) -> list[CronJob]:
        """When which job runs; a new value for every arq worker, which keeps time in it."""
        return [
            # Twice a second, so that edges know within one; a cron has one time of a second.
            self._cron(self.publish_changes, second=None),
            self._cron(self.publish_changes, second=None, microsecond=_HALF_LATER),
            self._cron(
                self.ensure_directory,
                second=set(range(0, 60, _LOOK_EVERY)),
                run_at_startup=True,
                timeout=_WHOLE_SECONDS,
            ),
            self._cron(self.sample_epochs, second=set(range(0, 60, _SAMPLE_EVERY))),
            self._cron(
                self.erase,
                second=set(range(2, 60, _ERASE_EVERY)),
                timeout=_WHOLE_SECONDS,
            ),
            self._cron(self.grow_erasures, second=43),
            self._cron(self.make_partitions, minute=17, run_at_startup=True),
            # Not all on the same second.
            self._cron(self.trim_streams, second=13),
            self._cron(self.count_losses, second=33),
            self._cron(
                self.reap_consumers, minute=set(range(0, 60, _REAP_EVERY)), second=53
            ),
            self._cron(self.sweep_claims, minute=27),
            self._cron(self.fold_ledger, minute=37),
            self._cron(self.expire_quarantine, minute=47),
        ]

    async def publish_changes(self) -> None:
        """Bring what changed to the edges."""
        total = 0
        async with self._connection() as connection:
            while count := await publish_changes(connection, self._redis):
                total += count
                if count < CHUNK:
                    break
        if total:
            self._log.info("directory.published", changes=total)

    async def ensure_directory(self) -> None:
        """Publish the whole directory where Redis has lost it."""
        async with self._connection() as connection:
            if await publish_if_missing(connection, self._redis):
                self._log.info("directory.published", changes="all")

    async def sample_epochs(self) -> None:
        """Write down how many entries the streams have had."""
        async with transaction(self._pool) as connection:
            if await connection.fetchval(_SQL["alone"], "sample_epochs"):
                await sample(connection, self._redis, self._shards)

    async def erase(self) -> None:
        """Go on with what `reftide erase` began, and with what came of it later."""
        await self._eraser.work()

    async def grow_erasures(self) -> None:
        """Erase visits that turn out to be of persons who were erased."""
        await self._eraser.grow()

    async def make_partitions(self) -> None:
        """Make the partitions of the coming months."""
        async with transaction(self._pool) as connection:
            if made := await connection.fetchval(_SQL["partitions_make"]):
                self._log.info("partitions.made", count=made)

    async def trim_streams(self) -> None:
        """Take out of the streams what nobody needs any more."""
        await self._trimmer.trim()

    async def count_losses(self) -> None:
        """Book the entries that were taken out of the streams unread."""
        async with transaction(self._pool) as connection:
            if await connection.fetchval(_SQL["alone"], "count_losses"):
                await count_losses(connection, self._redis, self._shards)

    async def reap_consumers(self) -> None:
        """Forget workers that are gone for good."""
        await reap(self._redis, self._shards)

    async def sweep_claims(self) -> None:
        """Delete the claims of idempotency keys that expired."""
        if count := await sweep_claims(self._pool):
            self._log.info("claims.swept", count=count)

    async def fold_ledger(self) -> None:
        """Make one row of what workers counted that are gone."""
        if count := await fold_ledger(self._pool):
            self._log.info("ledger.folded", count=count)

    async def expire_quarantine(self) -> None:
        """Give up what clients caused and nobody put back in time."""
        if count := await expire(self._pool, self._quarantine_days, "a worker"):
            self._log.info("quarantine.expired", count=count)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        """A connection for several transactions."""
        with mapped():
            async with self._pool.acquire(timeout=_ACQUIRE_SECONDS) as connection:
                yield connection

    def _cron(self, body: Callable[[], Awaitable[None]], **when: Any) -> CronJob:
        name = body.__name__

        async def job(ctx: dict[Any, Any], *_: object, **__: object) -> None:  # noqa: ARG001 -- arq's
            await self._run(name, body)

        return cron(job, name=name, **{"timeout": _TIMEOUT_SECONDS} | when)

    async def _run(self, name: str, body: Callable[[], Awaitable[None]]) -> None:
        # A job that hangs is started again every second; that must not use up the pool.
        if name in self._running:
            return
        self._running.add(name)
        try:
            await body()
        except Exception as error:  # noqa: BLE001 -- its cron tries again, whatever it was
            if name not in self._failing:
                cause = f"{type(error).__name__}: {error}"
                self._log.warning("job.failed", job=name, cause=cause)
            self._failing.add(name)
            JOBS.labels(name, "failed").inc()
        else:
            JOBS.labels(name, "done").inc()
            self._failing.discard(name)
        finally:
            self._running.discard(name)


class Work(Protocol):
    """What one arq worker has to do, and on which queue."""

    queue: str

    def crons(self) -> list[CronJob]: ...

    def functions(self) -> Sequence[Function]: ...


def arq_worker(work: Work, redis: ArqRedis) -> Worker:
    """One life of arq; construct it in the running loop, it is of no use after an error."""
    return Worker(
        functions=work.functions(),
        cron_jobs=work.crons(),
        redis_pool=redis,
        queue_name=work.queue,
        handle_signals=False,
        poll_delay=_POLL_SECONDS,
        keep_result=0,
        health_check_interval=_HEALTH_SECONDS,
        job_serializer=redis.job_serializer,
        job_deserializer=redis.job_deserializer,
    )
