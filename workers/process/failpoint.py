"""Fault injection: kills the process between two steps, to test redelivery.

Off unless REFTIDE_CRASH_AT or REFTIDE_CRASH_OVER is set, which only tests do.
"""

import os
import signal
from collections.abc import Callable, Sequence
from itertools import count
from uuid import UUID

from typing_extensions import override

from workers.model.batch import ArchiveBoundary, Boundary, Delivery, Recorder
from workers.settings import Settings


def boundary(settings: Settings) -> Callable[[Boundary | ArchiveBoundary], None]:
    """A function for the pipeline and the archivers to call between their steps.

    Reaching the configured boundary for the configured time is a SIGKILL, without cleanup.
    """
    wanted = settings.crash_at
    if wanted is None:
        return lambda _: None
    passes = count(1)

    def reached(at: Boundary | ArchiveBoundary) -> None:
        if at == wanted.boundary and next(passes) == wanted.time:
            os.kill(os.getpid(), signal.SIGKILL)

    return reached


class CrashingRecorder(Recorder):
    """A recorder whose process dies when it processes one event, as if out of memory."""

    def __init__(self, inner: Recorder, event_id: UUID) -> None:
        self._inner = inner
        self._mark = event_id.hex.encode()

    @override
    async def process(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        if any(self._mark in delivery.payload for delivery in deliveries):
            os.kill(os.getpid(), signal.SIGKILL)
        return await self._inner.process(deliveries)

    @override
    async def give_up(self, delivery: Delivery, detail: str) -> None:
        await self._inner.give_up(delivery, detail)
