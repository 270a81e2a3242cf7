"""Keeps arq going.

arq ends its worker on the first Redis error that it sees, and its own shutting down waits for
Redis and for its jobs without a limit. So here a new worker takes the place of one that
ended, and closing has a limit.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from arq.connections import ArqRedis
from arq.worker import Worker

from ingest.contracts.telemetry import Log
from workers.jobs.schedule import Work, arq_worker
from workers.redis_io.connections import REDIS_TROUBLE, for_arq
from workers.stream.consumer import happens

_CLOSE_SECONDS: Final = 3.0

#: A worker that lived so long was well; what ends it is another outage.
_WELL_SECONDS: Final = 30.0


async def keep_arq(
    work: Work,
    url: str,
    stop: asyncio.Event,
    pause: Callable[[int], float],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Run the work until stopped; start arq again after every loss of Redis.

    `pause` is the seconds after a failed attempt. Raises what else ends arq: it is a bug.
    """
    log = Log()
    attempt = 0
    while not stop.is_set():
        redis = for_arq(url)
        worker = arq_worker(work, redis)
        born = clock()
        try:
            await _run(worker, stop)
        except REDIS_TROUBLE as error:
            attempt = attempt + 1 if clock() - born < _WELL_SECONDS else 1
            if attempt == 1:
                log.warning("arq.restarted", cause=f"{type(error).__name__}: {error}")
        finally:
            await _close(worker, redis)
        await happens(stop, pause(max(attempt, 1)))


async def _run(worker: Worker, stop: asyncio.Event) -> None:
    """Return when stopped; raise when arq does."""
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
    """Try to close in an orderly way; in any case let go of the connections."""
    # Not a timeout around it: that would wait for jobs that do not heed cancellation.
    closing = asyncio.create_task(_close_both(worker, redis))
    await asyncio.wait({closing}, timeout=_CLOSE_SECONDS)
    closing.cancel()


async def _close_both(worker: Worker, redis: ArqRedis) -> None:
    # The jobs that it cancels are among what closing raises.
    with suppress(*REDIS_TROUBLE, asyncio.CancelledError):
        await worker.close()
    with suppress(*REDIS_TROUBLE):
        await redis.aclose(close_connection_pool=True)
