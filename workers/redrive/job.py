"""The redrive job: every second, for at most some seconds.

It has a queue of its own, so that long runs do not delay what edges wait for.
"""

import asyncio
import time
from typing import Final

from arq.cron import CronJob
from typing_extensions import override

from workers.jobs.arq_host import JobSet
from workers.pipeline.pipeline import Pipeline
from workers.redrive.marks import check_due, mark_woken
from workers.redrive.page import Redriver

QUEUE: Final = "rt:arq:redrive"

_CHUNK_SECONDS: Final = 5.0
#: Entries a second of one worker, so that live traffic keeps its latency.
_RATE: Final = 1000


class RedriveJob(JobSet):
    """The job of redrives: one run at a time, since live traffic comes first."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__(QUEUE)
        self._pool = pipeline.pool
        self._redriver = Redriver(pipeline)

    @override
    def crons(self) -> list[CronJob]:
        return [self.cron(self.work, "redrive", second=None)]

    async def work(self) -> None:
        """Mark entries, then redrive marked ones until none is left or the time is over.

        Raises TransientError.
        """
        until = time.monotonic() + _CHUNK_SECONDS
        await mark_woken(self._pool)
        await check_due(self._pool)
        while size := await self._redriver.work():
            if time.monotonic() >= until:
                break
            await asyncio.sleep(size / _RATE)
