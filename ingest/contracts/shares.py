"""Shares of what may be left behind by events that no API key vouches for."""

from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal

#: Who leaves it: a workspace, a link in it, a network of senders.
Level = Literal["workspace", "link", "sender"]
#: One of these, by anything that tells it from the others.
Subject = tuple[Level, object]

#: The part of the whole that one of each may have.
_PARTS: Final[dict[Level, int]] = {"workspace": 2, "link": 4, "sender": 16}

_HOUR_MS: Final = 3_600_000


def most(level: Level, whole: int) -> int:
    """How much of the whole one of a level may have."""
    return -(-whole // _PARTS[level])


class HourlyShares:
    """Limits how many events an hour leave something in Redis, once that fills.

    In Redis everything expires, but a flood may fill it before.
    """

    def __init__(self, whole: int = 100_000) -> None:
        """`whole`: so many events an hour, on one process; they leave some 30 MB."""
        self._whole = whole
        self._hour = 0
        self._counts: Counter[Subject] = Counter()

    def exceeded(self, subjects: Sequence[Subject], at_ms: int) -> Level | None:
        """Count an event of `subjects`, or say which of them has had its share."""
        if self._hour != at_ms // _HOUR_MS:
            self._hour = at_ms // _HOUR_MS
            self._counts.clear()
        for subject in subjects:
            if self._counts[subject] >= most(subject[0], self._whole):
                return subject[0]
        self._counts.update(subjects)
        return None
