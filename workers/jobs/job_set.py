"""The jobs of one arq worker: what each arq worker runs, and how a failure is handled."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from arq.connections import ArqRedis
from arq.cron import CronJob, cron
from arq.worker import Function, Worker

from ingest.contracts.metrics.worker import JOBS
from ingest.contracts.telemetry import Log

_POLL_SECONDS: Final = 0.2
_HEALTH_SECONDS: Final = 15
#: Longer than the timeouts of the database: a job that arq cancels hangs in asyncpg until the
#: database answers.
_TIMEOUT_SECONDS: Final = 60


class JobSet:
    """Jobs with a queue of their own. Each runs once at a time in its process.

    A failed job is tried again by its schedule, whatever it raised. Outcomes are counted, and
    the first failure in a row is logged.
    """

    def __init__(self, queue: str) -> None:
        self.queue = queue
        self._running: set[str] = set()
        self._failing: set[str] = set()
        self.log = Log()

    def crons(self) -> list[CronJob]:
        """The schedule; new objects for every arq worker, which stores the next run in them."""
        raise NotImplementedError

    def functions(self) -> Sequence[Function]:
        """What is enqueued by name; none unless overridden."""
        return ()

    def cron(
        self, body: Callable[[], Awaitable[object]], name: str = "", **when: Any
    ) -> CronJob:
        """A periodic job, named as its body unless it has a name of its own."""
        name = name or getattr(body, "__name__", "")

        async def job(ctx: dict[Any, Any], *_: object, **__: object) -> None:  # noqa: ARG001 -- arq's
            await self.run(name, body)

        return cron(job, name=name, **{"timeout": _TIMEOUT_SECONDS} | when)

    async def run(self, name: str, body: Callable[[], Awaitable[object]]) -> bool:
        """Run a job; False if it is running already."""
        # arq starts a hanging job again every second: one run must not use up the pool.
        if name in self._running:
            return False
        self._running.add(name)
        try:
            await body()
        except Exception as error:  # noqa: BLE001 -- its schedule tries again, whatever it was
            if name not in self._failing:
                cause = f"{type(error).__name__}: {error}"
                self.log.warning("job.failed", job=name, cause=cause)
            self._failing.add(name)
            JOBS.labels(name, "failed").inc()
        else:
            JOBS.labels(name, "done").inc()
            self._failing.discard(name)
        finally:
            self._running.discard(name)
        return True


def arq_worker(work: JobSet, redis: ArqRedis) -> Worker:
    """A worker of arq; create it in the running loop, and replace it after an error."""
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
