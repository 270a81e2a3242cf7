"""Runs arq's worker, and restarts it after Redis errors.

arq ends its worker on the first Redis error, and its own shutdown waits for Redis and for its
jobs without a limit. So this starts a new worker when one ends, and limits closing.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from arq.connections import ArqRedis
from arq.worker import Worker

from ingest.contracts.telemetry import Log
from workers.jobs.job_set import JobSet, arq_worker
from workers.redis_io.connections import REDIS_ERRORS, for_arq
from workers.stream.consumer import is_set_within

_CLOSE_SECONDS: Final = 3.0

#: The end of a worker that ran so long counts as a new outage.
_STABLE_SECONDS: Final = 30.0


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


async def _close(worker: Worker, redis: ArqRedis) -> None:
    """Close worker and connections, within a time limit."""
    # asyncio.timeout would wait for jobs that do not heed cancellation.
    closing = asyncio.create_task(_close_both(worker, redis))
    await asyncio.wait({closing}, timeout=_CLOSE_SECONDS)
    closing.cancel()


async def _close_both(worker: Worker, redis: ArqRedis) -> None:
    # Closing raises the cancellation of the jobs it cancels.
    with suppress(*REDIS_ERRORS, asyncio.CancelledError):
        await worker.close()
    with suppress(*REDIS_ERRORS):
        await redis.aclose(close_connection_pool=True)
