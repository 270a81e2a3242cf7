"""Dying on purpose between two steps, so that tests can see what redelivery makes of it.

Used by `main`. Off unless REFTIDE_CRASH_AT is set, which only tests do.
"""

import os
import signal
from collections.abc import Callable
from itertools import count

from workers.batch import ArchiveBoundary, Boundary
from workers.settings import Settings


def boundary(settings: Settings) -> Callable[[Boundary | ArchiveBoundary], None]:
    """What the pipeline and the archivers call between their steps.

    Where the settings name a boundary, reaching it for the given time is a SIGKILL:
    nothing is cleaned up, as in the crashes that it stands for.
    """
    wanted = settings.crash_at
    if wanted is None:
        return _go_on
    passes = count(1)

    def reached(at: Boundary | ArchiveBoundary) -> None:
        if at == wanted.boundary and next(passes) == wanted.time:
            os.kill(os.getpid(), signal.SIGKILL)

    return reached


def _go_on(_: Boundary | ArchiveBoundary) -> None:
    """Nothing to do here."""
