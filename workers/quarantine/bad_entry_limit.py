"""Limits how many entries may be quarantined for bad data before recording pauses.

Entries with bad data are rare. If there are many, the worker or the schema is at fault, and
the stream must not be emptied into quarantine. What clients cause (unknown codes and the
like) does not count.
"""

from collections import deque
from itertools import islice, repeat
from typing import Final

from workers.model.batch import PausedError

#: The limits: entries in a row, or of the last thousand.
_MAX_IN_ROW: Final = 50
_MAX_OF_RECENT: Final = 100
_RECENT: Final = 1000


class BadEntryLimit:
    """Counts what one worker has quarantined lately."""

    def __init__(
        self, max_in_row: int = _MAX_IN_ROW, max_of_recent: int = _MAX_OF_RECENT
    ) -> None:
        """Pause at `max_in_row` culprits without a recorded entry, or `max_of_recent` of a thousand."""
        self._max_in_row = max_in_row
        self._max_of_recent = max_of_recent
        self._in_row = 0
        #: 1 for a rejected entry, 0 for a recorded one.
        self._recent: deque[int] = deque(maxlen=_RECENT)
        self._allowance = 0

    def judge(self, good: int, bad: int) -> None:
        """Raise PausedError if committing so many would exceed a limit."""
        counted = max(0, bad - self._allowance)
        if not counted:
            return
        in_row = counted if good else self._in_row + counted
        if good == 0 and in_row >= self._max_in_row:
            self._pause(f"{in_row} entries in a row could not be recorded")
        kept = min(len(self._recent), max(0, _RECENT - good - counted))
        max_of_recent = sum(islice(reversed(self._recent), kept)) + counted
        if max_of_recent >= self._max_of_recent:
            recent = kept + good + counted
            self._pause(f"{max_of_recent} of {recent} entries could not be recorded")

    def note(self, good: int, bad: int) -> None:
        """Count what was committed: entries recorded, and entries rejected."""
        counted = max(0, bad - self._allowance)
        self._allowance -= bad - counted
        self._in_row = 0 if good else self._in_row + counted
        self._recent.extend(repeat(0, good))
        self._recent.extend(repeat(1, counted))

    def reset(self, more: int) -> None:
        """Forget all counts, and let so many rejected entries pass uncounted."""
        self._in_row = 0
        self._recent.clear()
        self._allowance = more

    def _pause(self, what: str) -> None:
        raise PausedError("culprits", f"{what}: see `reftide quarantine list`")
