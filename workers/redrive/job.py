"""The redrive job: every second, for at most some seconds.

It has a queue of its own, so that long runs do not delay what edges wait for.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

from arq.cron import CronJob, cron
from arq.worker import Function

from ingest.contracts.metrics.worker import JOBS
from ingest.contracts.telemetry import Log
from workers.pipeline.pipeline import Pipeline
from workers.redrive.matching import check_due, mark_woken
from workers.redrive.page import Redriver

QUEUE: Final = "rt:arq:redrive"

_CHUNK_SECONDS: Final = 5.0
#: When arq cancels a run. Not reached: pages have limits of their own.
_TIMEOUT_SECONDS: Final = 60
#: Entries a second of one worker, so that live traffic keeps its latency.
_RATE: Final = 1000


@dataclass(slots=True, kw_only=True)
class RedriveJob:
    """The job of redrives. `clock` gives monotonic seconds."""

    redriver: Redriver
    clock: Callable[[], float] = time.monotonic
    queue: str = QUEUE
    _is_busy: bool = False
    _is_failing: bool = False
    _log: Log = field(default_factory=Log)

    @classmethod
    def for_worker(cls, pipeline: Pipeline) -> Self:
        """The job of a worker process with this pipeline."""
        return cls(redriver=Redriver.for_worker(pipeline))

    def crons(self) -> list[CronJob]:
        """The job; one worker runs it each second, also while another is still running it."""

        async def job(ctx: dict[Any, Any], *_: object, **__: object) -> None:  # noqa: ARG001 -- arq's
            await self._run()

        return [cron(job, name="redrive", second=None, timeout=_TIMEOUT_SECONDS)]

    def functions(self) -> Sequence[Function]:
        """None: it runs by the clock."""
        return ()

    async def work(self) -> None:
        """Mark entries, then redrive marked ones until none is left or the time is over.

        Raises TransientError.
        """
        until = self.clock() + _CHUNK_SECONDS
        pool = self.redriver.pipeline.pool
        await mark_woken(pool)
        await check_due(pool)
        while size := await self.redriver.work():
            if self.clock() >= until:
                break
            await asyncio.sleep(size / _RATE)

    async def _run(self) -> None:
        # One run at a time: live traffic comes first.
        if self._is_busy:
            return
        self._is_busy = True
        try:
            await self.work()
        except Exception as error:  # noqa: BLE001 -- the next second tries again, whatever it was
            JOBS.labels("redrive", "failed").inc()
            if not self._is_failing:
                cause = f"{type(error).__name__}: {error}"
                self._log.warning("job.failed", job="redrive", cause=cause)
            self._is_failing = True
        else:
            JOBS.labels("redrive", "done").inc()
            self._is_failing = False
        finally:
            self._is_busy = False
