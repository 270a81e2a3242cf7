"""Sets of jobs, and the arq worker that runs one, restarted after Redis errors.

arq ends its worker on the first Redis error, and its own shutdown waits for Redis and for its
jobs without a limit. So this starts a new worker when one ends, and limits closing.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from arq.connections import ArqRedis
from arq.cron import CronJob, cron
from arq.worker import Function, Worker
from typing_extensions import override

from ingest.contracts.metrics.worker import JOBS
from ingest.contracts.telemetry import Log
from workers.redis_io.connections import REDIS_ERRORS, for_arq
from workers.stream.consumer import is_set_within

_POLL_SECONDS: Final = 0.2
_HEALTH_SECONDS: Final = 15
#: Longer than the timeouts of the database: a job that arq cancels hangs in asyncpg until the
#: database answers.
_TIMEOUT_SECONDS: Final = 60
_CLOSE_SECONDS: Final = 3.0

#: The end of a worker that ran so long counts as a new outage.
_STABLE_SECONDS: Final = 30.0


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


class _Worker(Worker):
    """arq's worker, whose jobs leave no tasks behind that fail unseen.

    arq finishes a job in a shielded task. If the worker is closed meanwhile, nobody waits for
    that task. Without Redis it fails, as whatever the worker asks next does.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._finishing: set[asyncio.Task[Any]] = set()

    @override
    async def finish_job(self, *args: Any, **kwargs: Any) -> None:
        self._note_finishing()
        with suppress(*REDIS_ERRORS):
            await super().finish_job(*args, **kwargs)

    @override
    async def finish_failed_job(self, *args: Any, **kwargs: Any) -> None:
        self._note_finishing()
        with suppress(*REDIS_ERRORS):
            await super().finish_failed_job(*args, **kwargs)

    def _note_finishing(self) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._finishing.add(task)
            task.add_done_callback(self._finishing.discard)

    async def ended(self) -> None:
        """Wait for the jobs, and for what finishes them."""
        while left := {
            each for each in (*self.tasks.values(), *self._finishing) if not each.done()
        }:
            await asyncio.wait(left)


def arq_worker(work: JobSet, redis: ArqRedis) -> _Worker:
    """A worker of arq; create it in the running loop, and replace it after an error."""
    return _Worker(
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


async def keep_arq(
    work: JobSet,
    url: str,
    stop: asyncio.Event,
    pause: Callable[[int], float],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Run the jobs until stopped; restart arq after every loss of Redis.

    `pause` gives the seconds to wait after so many failures. Other exceptions of arq are bugs,
    and are raised.
    """
    log = Log()
    attempt = 0
    while not stop.is_set():
        redis = for_arq(url)
        worker = arq_worker(work, redis)
        started = clock()
        try:
            await _run(worker, stop)
        except REDIS_ERRORS as error:
            attempt = attempt + 1 if clock() - started < _STABLE_SECONDS else 1
            if attempt == 1:
                log.warning("arq.restarted", cause=f"{type(error).__name__}: {error}")
        finally:
            await _close(worker, redis)
        await is_set_within(stop, pause(max(attempt, 1)))


async def _run(worker: Worker, stop: asyncio.Event) -> None:
    """Return when stopped; raise what arq raises."""
    ends = asyncio.create_task(worker.async_run())
    stops = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({ends, stops}, return_when=asyncio.FIRST_COMPLETED)
        if ends.done():
            ends.result()
    finally:
        stops.cancel()
        ends.cancel()
        # Its connections are closed under it, whatever it was doing.
        ends.add_done_callback(_retrieve)


def _retrieve(task: asyncio.Task[None]) -> None:
    """Take what a task raised, so that asyncio does not report it as never seen."""
    if not task.cancelled():
        task.exception()


async def _close(worker: _Worker, redis: ArqRedis) -> None:
    """Close worker and connections, within a time limit."""
    # What finishes jobs would open connections after those were closed.
    steps = (_close_worker(worker), worker.ended(), _close_connections(redis))
    # asyncio.timeout would wait for jobs that do not heed cancellation.
    for closing in steps:
        task = asyncio.create_task(closing)
        await asyncio.wait({task}, timeout=_CLOSE_SECONDS)
        task.cancel()


async def _close_worker(worker: _Worker) -> None:
    # Closing raises the cancellation of the first job it cancels, and leaves the others.
    with suppress(*REDIS_ERRORS, asyncio.CancelledError):
        await worker.close()


async def _close_connections(redis: ArqRedis) -> None:
    with suppress(*REDIS_ERRORS):
        await redis.aclose(close_connection_pool=True)
