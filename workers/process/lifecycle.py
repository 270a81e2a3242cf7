"""A worker's life: it starts once its servers answer, and stops as told or when it fails."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Final, TypeVar

from ingest.contracts.telemetry import Log
from workers.model.batch import TransientError
from workers.postgres.database import Pool
from workers.quarantine.circuit_breaker import CircuitBreaker
from workers.stream.consumer import Consumer, Outage, backoff, happens

#: How long stopping may take, in seconds: batches in hand; then, with the database cut off,
#: what waited for it; then, cancelled, the rest. Supervisors kill after ten.
_FINISH_SECONDS: Final = 5.0
_CUT_OFF_SECONDS: Final = 1.5
_CANCEL_SECONDS: Final = 1.5

_Result = TypeVar("_Result")


class StoppedBeforeStart(Exception):
    """The worker was told to stop before it had started."""


class Lifecycle:
    """Whether the worker goes on, and whether it failed."""

    def __init__(self, log: Log) -> None:
        self.stop = asyncio.Event()
        self.has_failed = False
        self.consumer: Consumer | None = None
        self.gate: CircuitBreaker | None = None
        self._log = log

    def problem(self) -> str | None:
        """Why nothing may be recorded now."""
        if self.stop.is_set():
            return "stopping"
        if self.consumer is None:
            return "starting: a server does not answer yet"
        if self.gate and self.gate.is_paused:
            return "recording is paused: see `reftide status`"
        if delayed := self.consumer.delayed:
            return f"shards {', '.join(map(str, delayed))} wait for a server"
        return None

    def listen(self) -> None:
        """Stop at the first signal, exit at the second."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)

    async def guard(self, sibling: Coroutine[None, None, None]) -> None:
        """Run one of several that cannot live without one another."""
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
    siblings: Iterable[Coroutine[None, None, None]], pool: Pool, life: Lifecycle
) -> bool:
    """Run the siblings until they stop; False if one is still at it after all that time.

    What hangs in a frozen database heeds no cancellation until its connection is cut.
    """
    tasks = {asyncio.create_task(life.guard(each)) for each in siblings}
    await life.stop.wait()
    _, hanging = await asyncio.wait(tasks, timeout=_FINISH_SECONDS)
    if hanging:
        pool.terminate()
        _, hanging = await asyncio.wait(hanging, timeout=_CUT_OFF_SECONDS)
    for task in hanging:
        task.cancel()
    if hanging:
        _, hanging = await asyncio.wait(hanging, timeout=_CANCEL_SECONDS)
    return not hanging


async def persistently(
    action: Callable[[], Awaitable[_Result]], life: Lifecycle, log: Log
) -> _Result:
    """Try until it succeeds; raises StoppedBeforeStart if the worker is to stop before that."""
    outage = Outage(log, backoff)
    while True:
        try:
            result = await action()
        except TransientError as trouble:
            if await happens(life.stop, outage.next_pause(trouble)):
                raise StoppedBeforeStart from None
        else:
            outage.over()
            return result
