"""The edge's clock, corrected by Redis' where both are far apart.

Ids, windows and limits go by it. Edges whose machines disagree agree with Redis, and so with
one another. Small differences stay: they do no harm, and measuring has an error of its own.
"""

import time
from collections.abc import Callable
from typing import Final

from ingest.contracts.metrics.edge import CLOCK_AHEAD
from ingest.contracts.telemetry import Log
from ingest.core.values import MintedId

#: A clock that differs by more is corrected; a correction that is off by more is renewed.
_WRONG_MS: Final = 60_000
_TOLERANCE_MS: Final = 1_000
#: The bytes of an id that are its time.
_TIME_BYTES: Final = 6


def unix_ms() -> int:
    """The machine's clock, Unix milliseconds."""
    return time.time_ns() // 1_000_000


class _Shifted:
    """An id of another time."""

    __slots__ = ("bytes",)

    def __init__(self, raw: bytes) -> None:
        self.bytes = raw


class EdgeClock:
    """Unix milliseconds, and new ids of the same time."""

    def __init__(
        self, clock: Callable[[], int], new_id: Callable[[], MintedId]
    ) -> None:
        """`clock` is this machine's, in Unix milliseconds; `new_id` mints by it."""
        self.machine = clock
        self._mint = new_id
        #: An attribute, so that a plain click passes no call more.
        self.new_id = new_id
        #: By how much this machine's clock is ahead of Redis', if that is corrected.
        self.ahead_ms = 0
        self._log = Log()

    def now(self) -> int:
        return self.machine() - self.ahead_ms

    def _shifted(self) -> MintedId:
        raw = self._mint().bytes
        at = int.from_bytes(raw[:_TIME_BYTES]) - self.ahead_ms
        return _Shifted(at.to_bytes(_TIME_BYTES) + raw[_TIME_BYTES:])

    def observe(self, redis_ms: int, before: int, after: int) -> None:
        """Compare with Redis' clock, which was read between two moments of `machine`."""
        least, most = before - redis_ms, after - redis_ms
        if least - _TOLERANCE_MS <= self.ahead_ms <= most + _TOLERANCE_MS:
            return
        ahead = (least + most) // 2
        corrected = ahead if abs(ahead) > _WRONG_MS else 0
        if corrected != self.ahead_ms:
            self.ahead_ms = corrected
            self.new_id = self._shifted if corrected else self._mint
            CLOCK_AHEAD.set(corrected / 1000)
            self._log.warning("clock.corrected", ahead_seconds=corrected / 1000)
