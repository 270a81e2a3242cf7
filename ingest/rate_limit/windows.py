"""A sliding window in memory: what one process admitted.

Time is divided into buckets. A window of `KEPT` buckets covers every span of `KEPT - 1`
buckets: 61 seconds. The extra second allows for the time between counting and answering a
request, so that a client's own measurement does not exceed the limit either.
"""

from typing import Final, NamedTuple

from ingest.directory.cache import Lru

BUCKET_MS: Final = 1000
KEPT: Final = 62

#: Some hundred bytes each.
_SUBJECTS_KEPT: Final = 20_000


class Count(NamedTuple):
    """The permits granted to one request, and the state of the window."""

    granted: int
    #: Permits used in the window, the granted ones included.
    used: int
    #: Milliseconds until the first used permit becomes free.
    wait: int
    #: The bucket that counts the granted permits.
    bucket: int


class Window:
    """The permits of one subject taken within the last minute."""

    __slots__ = ("_counts", "_used")

    def __init__(self) -> None:
        #: By bucket, oldest first, none of them empty.
        self._counts: dict[int, int] = {}
        self._used = 0

    def take(self, limit: int, now: int, *, wanted: int = 1) -> Count:
        """Up to `wanted` permits, as many as are left; `now` is Unix milliseconds."""
        bucket = self._advance_to(now // BUCKET_MS)
        granted = max(0, min(wanted, limit - self._used))
        if granted:
            self._counts[bucket] = self._counts.get(bucket, 0) + granted
            self._used += granted
        oldest = next(iter(self._counts), bucket)
        wait = (oldest + KEPT) * BUCKET_MS - now
        return Count(granted, self._used, wait, bucket)

    def give_back(self, bucket: int) -> None:
        """Return one permit to its bucket."""
        if bucket not in self._counts:
            return
        self._used -= 1
        self._counts[bucket] -= 1
        if not self._counts[bucket]:
            del self._counts[bucket]

    def taken_in(self, bucket: int) -> int:
        """The number of permits taken in a bucket."""
        return self._counts.get(bucket, 0)

    def _advance_to(self, bucket: int) -> int:
        """Drop old buckets; the bucket to count in.

        If the clock was set back a little, counting continues in the latest bucket, so that no
        permit becomes free. Buckets a minute ahead come from a wrong clock.
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
    """The windows of the most recently used subjects."""

    def __init__(self, kept: int = _SUBJECTS_KEPT) -> None:
        """Hold at most `kept` windows."""
        self._windows: Lru[Window] = Lru(kept)

    def __contains__(self, subject: str) -> bool:
        return subject in self._windows

    def of(self, subject: str) -> Window:
        window = self._windows.get(subject)
        if window is None:
            window = Window()
            self._windows.put(subject, window)
        return window
