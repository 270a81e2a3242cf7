"""A worker's lifecycle: starts once its servers answer, stops on signals and failures."""

import asyncio
import gc
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Final, TypeVar

from ingest.contracts.telemetry import Log
from workers.model.batch import TransientError
from workers.postgres.database import Pool
from workers.quarantine.circuit_breaker import CircuitBreaker
from workers.stream.consumer import Consumer, Outage, backoff, is_set_within

#: The phases of stopping, in seconds: finish batches; then close the database connections;
#: then cancel the rest. Supervisors kill after ten seconds.
_FINISH_SECONDS: Final = 5.0
_TERMINATE_SECONDS: Final = 1.5
_CANCEL_SECONDS: Final = 1.5

_Result = TypeVar("_Result")


class StoppedBeforeStart(Exception):
    """The worker was told to stop before it had started."""


class Lifecycle:
    """The state of the worker: running, stopping, failed."""

    def __init__(self, log: Log) -> None:
        self.stop = asyncio.Event()
        self.has_failed = False
        self.consumer: Consumer | None = None
        self.breaker: CircuitBreaker | None = None
        #: What is known of the servers, if it is sampled.
        self.sampled: Mapping[str, object] = {}
        self._log = log

    def problem(self) -> str | None:
        """Why the worker does not record now; None if it does."""
        if self.stop.is_set():
            return "stopping"
        if self.consumer is None:
            return "starting: a server does not answer yet"
        if self.breaker and self.breaker.is_paused:
            return "recording is paused: see `reftide status`"
        if delayed := self.consumer.delayed:
            return f"shards {', '.join(map(str, delayed))} wait for a server"
        return None

    def listen(self) -> None:
        """Stop at the first SIGINT or SIGTERM, exit at the second."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)

    async def guard(self, sibling: Coroutine[None, None, None]) -> None:
        """Run a task whose end stops the others."""
        try:
            await sibling
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is logged here
            self.has_failed = True
            self._log.error("worker.failed", exc_info=error)
            self.stop.set()

    def _signalled(self) -> None:
        if self.stop.is_set():
            os._exit(1)
        self.stop.set()


async def supervise(
    siblings: Iterable[Coroutine[None, None, None]], pool: Pool, lifecycle: Lifecycle
) -> bool:
    """Run the siblings until they stop; False if one is still running after the time limits.

    A task that waits for a frozen database heeds no cancellation until its connection is
    closed.
    """
    tasks = {asyncio.create_task(lifecycle.guard(each)) for each in siblings}
    await lifecycle.stop.wait()
    _, hanging = await asyncio.wait(tasks, timeout=_FINISH_SECONDS)
    if hanging:
        pool.terminate()
        _, hanging = await asyncio.wait(hanging, timeout=_TERMINATE_SECONDS)
    for task in hanging:
        task.cancel()
    if hanging:
        _, hanging = await asyncio.wait(hanging, timeout=_CANCEL_SECONDS)
    return not hanging


async def retry_until_started(
    action: Callable[[], Awaitable[_Result]], lifecycle: Lifecycle, log: Log
) -> _Result:
    """Retry until it succeeds. Raises StoppedBeforeStart if the worker is stopped first."""
    outage = Outage(log, backoff)
    while True:
        try:
            result = await action()
        except TransientError as trouble:
            if await is_set_within(lifecycle.stop, outage.next_pause(trouble)):
                raise StoppedBeforeStart from None
        else:
            outage.over()
            return result


#: Net allocations before the collector runs. A batch's objects are freed by their reference
#: counts.
_YOUNG: Final = 50_000


def tune_gc() -> None:
    """Exclude the objects of start-up from collection, and collect less often.

    By default the collector runs after 700 net allocations, several times a batch and in vain:
    that took a sixth of a worker's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 20, 20)
