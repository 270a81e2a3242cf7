"""A sliding window in memory: what one process admitted.

Time is cut into buckets, and what is counted are the buckets of the last minute and
little more. A window of `KEPT` buckets covers every span of `KEPT - 1` buckets wherever
it begins: 61 seconds. The second beyond the minute is for what lies between counting a
request and answering it, so that nobody who measures at his own end sees more.
"""

from typing import Final, NamedTuple

from ingest.directory.cache import Lru

BUCKET_MS: Final = 1000
KEPT: Final = 62

#: Some hundred bytes each.
_SUBJECTS_KEPT: Final = 20_000


class Count(NamedTuple):
    """What a window says to somebody who wants permits of it."""

    granted: int
    #: In the window, with what was granted.
    used: int
    #: Milliseconds until the first of those used comes free.
    wait: int
    #: The bucket that what was granted is counted in.
    bucket: int


class Window:
    """The permits that were taken of one subject within the last minute."""

    __slots__ = ("_counts", "_used")

    def __init__(self) -> None:
        #: By bucket, oldest first, none of them empty.
        self._counts: dict[int, int] = {}
        self._used = 0

    def take(self, limit: int, now: int, *, wanted: int = 1) -> Count:
        """As many of `wanted` permits as there are; `now` in Unix milliseconds."""
        bucket = self._turn_to(now // BUCKET_MS)
        granted = max(0, min(wanted, limit - self._used))
        if granted:
            self._counts[bucket] = self._counts.get(bucket, 0) + granted
            self._used += granted
        oldest = next(iter(self._counts), bucket)
        wait = (oldest + KEPT) * BUCKET_MS - now
        return Count(granted, self._used, wait, bucket)

    def give_back(self, bucket: int) -> None:
        """Take one permit out of the bucket that it was counted in."""
        if bucket not in self._counts:
            return
        self._used -= 1
        self._counts[bucket] -= 1
        if not self._counts[bucket]:
            del self._counts[bucket]

    def taken_in(self, bucket: int) -> int:
        """How many permits were taken within a bucket."""
        return self._counts.get(bucket, 0)

    def _turn_to(self, bucket: int) -> int:
        """Forget what is over; the bucket to count in.

        A clock that was set back a little must free nothing, so that counting goes on
        where it was. What lies a minute ahead is of a clock that was wrong.
        """
        latest = next(reversed(self._counts), bucket)
        if abs(bucket - latest) >= KEPT:
            self._counts.clear()
            self._used, latest = 0, bucket
        bucket = max(bucket, latest)
        while self._counts and bucket - (oldest := next(iter(self._counts))) >= KEPT:
            self._used -= self._counts.pop(oldest)
        return bucket


class Windows:
    """The windows of the subjects that were used last; others are forgotten."""

    def __init__(self, kept: int = _SUBJECTS_KEPT) -> None:
        """Hold at most `kept` windows."""
        self._windows: Lru[Window] = Lru(kept)

    def of(self, subject: str) -> Window:
        window = self._windows.get(subject)
        if window is None:
            window = Window()
            self._windows.put(subject, window)
        return window
