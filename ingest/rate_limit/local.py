"""Generous limits that one edge enforces alone, without Redis: of callers without a key.

Anybody may have a million addresses, and nearly all callers send little. So an address has
only a number, and a window once it has sent a fiftieth of its limit within the minute.
Numbers are forgotten after the minute, or sooner in a crowd of addresses. Without such a
crowd no minute admits more than 1.04 times the limit.
"""

from collections.abc import Callable
from time import monotonic
from typing import Final

from ingest.rate_limit.windows import Count, Windows

_SECONDS: Final = 60.0
#: A window begins with the limit divided by this.
_FEW: Final = 50
#: Few enough for the processor's cache.
_NUMBERS: Final = 20_000
_WINDOWS: Final = 5_000
#: Instead of the number of a subject that has a window.
_HAS_WINDOW: Final = 1 << 40
_NO_BUCKET: Final = -1
_ADMITTED: Final = Count(granted=1, used=0, wait=0, bucket=_NO_BUCKET)


class LocalLimiter:
    """Counts the requests of many subjects in bounded memory."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        """`clock` gives seconds."""
        self._clock = clock
        self._numbers: dict[str, int] = {}
        self._until = 0.0
        self._windows = Windows(_WINDOWS)

    def admits(self, subject: str, limit: int) -> bool:
        """Count one request, or refuse it. Nearly all end in the first half."""
        now, numbers = self._clock(), self._numbers
        if now >= self._until or len(numbers) >= _NUMBERS:
            numbers = self._numbers = dict.fromkeys(self._windows, _HAS_WINDOW)
            self._until = now + _SECONDS
        number = numbers.get(subject, 0)
        if number < limit // _FEW:
            numbers[subject] = number + 1
            return True
        return self._counted(subject, limit).granted > 0

    def take(self, subject: str, limit: int) -> Count:
        """Like `admits`, with how long a refused request has to wait."""
        if self._numbers.get(subject, 0) < limit // _FEW:
            self.admits(subject, limit)
            return _ADMITTED
        return self._counted(subject, limit)

    def give_back(self, subject: str, bucket: int) -> None:
        """Return the permit that `take` gave in this bucket."""
        if bucket != _NO_BUCKET:
            self._windows.of(subject).give_back(bucket)
        elif 0 < self._numbers.get(subject, 0) < _HAS_WINDOW:
            self._numbers[subject] -= 1

    def _counted(self, subject: str, limit: int) -> Count:
        now, window = int(self._clock() * 1000), self._windows.of(subject)
        number = self._numbers.get(subject, 0)
        if number < _HAS_WINDOW:
            self._numbers[subject] = _HAS_WINDOW
            window.take(limit, now, wanted=number)
        return window.take(limit, now)
