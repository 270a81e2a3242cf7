"""Generous limits that one edge enforces alone, without Redis: of callers without a key.

Anybody may have a million addresses, and nearly all callers send little. So a subject counts
in a slot that it shares with others, by its hash, until the slot has a fiftieth of the limit.
From then on it has a window of its own, which begins with as much. Slots begin anew every
minute. So no minute admits more than 1.04 times the limit, unless thousands of others that
exceed a fiftieth pushed out the window.
"""

from collections.abc import Callable
from time import monotonic
from typing import Final

from ingest.rate_limit.windows import Count, Windows

_SECONDS: Final = 60.0
#: A window begins with the limit divided by this.
_FEW: Final = 50
#: Strings have another hash in each process: nobody can choose whom to share a slot with.
_SLOTS: Final = 1 << 15
_WINDOWS: Final = 10_000
#: Instead of the bucket of what counts in a slot.
_NO_BUCKET: Final = -1
_ADMITTED: Final = Count(granted=1, used=0, wait=0, bucket=_NO_BUCKET)


class LocalLimiter:
    """Counts the requests of any number of subjects in bounded memory."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        """`clock` gives seconds."""
        self._clock = clock
        self._until = 0.0
        self._slots = [0] * _SLOTS
        self._windows = Windows(_WINDOWS)

    def admits(self, subject: str, limit: int) -> bool:
        """Count one request, or refuse it."""
        slots, now = self._slots, self._clock()
        if now >= self._until:
            slots = self._slots = [0] * _SLOTS
            self._until = now + _SECONDS
        slot = hash(subject) % _SLOTS
        if slots[slot] < limit // _FEW:
            slots[slot] += 1
            return True
        return self._counted(subject, limit).granted > 0

    def take(self, subject: str, limit: int) -> Count:
        """Like `admits`, with how long a refused request has to wait."""
        if self._slots[hash(subject) % _SLOTS] < limit // _FEW:
            self.admits(subject, limit)
            return _ADMITTED
        return self._counted(subject, limit)

    def give_back(self, subject: str, bucket: int) -> None:
        """Return the permit that `take` gave in this bucket."""
        if bucket != _NO_BUCKET:
            self._windows.of(subject).give_back(bucket)
        elif self._slots[hash(subject) % _SLOTS]:
            self._slots[hash(subject) % _SLOTS] -= 1

    def _counted(self, subject: str, limit: int) -> Count:
        now = int(self._clock() * 1000)
        is_new = subject not in self._windows
        window = self._windows.of(subject)
        if is_new:
            window.take(limit, now, wanted=limit // _FEW)
        return window.take(limit, now)
