"""How many entries may be put away as bad before somebody has to look.

Entries that cannot be recorded for what they hold are rare: a foreign hand, a bug at the
edge. Where there are many, it is the worker that is wrong, or the schema, and the stream
must not be emptied into quarantine. What clients cause (unknown codes and the like) is
nothing of the kind, and is never counted here.
"""

from collections import deque
from itertools import islice, repeat
from typing import Final

from workers.model.batch import PausedError

#: So many in a row, or so many of the last thousand.
_MAX_IN_ROW: Final = 50
_MAX_OF_RECENT: Final = 100
_RECENT: Final = 1000


class BadEntryLimit:
    """What one worker has put away lately."""

    def __init__(
        self, max_in_row: int = _MAX_IN_ROW, max_of_recent: int = _MAX_OF_RECENT
    ) -> None:
        """Pause at `max_in_row` culprits without a recorded entry, or `max_of_recent` of a thousand."""
        self._max_in_row = max_in_row
        self._max_of_recent = max_of_recent
        self._in_row = 0
        #: 1 for every culprit.
        self._recent: deque[int] = deque(maxlen=_RECENT)
        self._allowance = 0

    def judge(self, good: int, bad: int) -> None:
        """Raise PausedError where so many, about to be committed, are too many."""
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
        """Remember what was committed: entries recorded, and culprits."""
        counted = max(0, bad - self._allowance)
        self._allowance -= bad - counted
        self._in_row = 0 if good else self._in_row + counted
        self._recent.extend(repeat(0, good))
        self._recent.extend(repeat(1, counted))

    def reset(self, more: int) -> None:
        """Begin anew, and let so many culprits pass without counting them."""
        self._in_row = 0
        self._recent.clear()
        self._allowance = more

    def _pause(self, what: str) -> None:
        raise PausedError("culprits", f"{what}: see `reftide quarantine list`")
