"""The rule of duplicate clicks for one visitor on one link.

`Timeline` holds the clicks that open windows. The duplicates are in `events` only: where the
rule needs one, a generator yields a `Lookup`, and is sent the `Answer`.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from struct import Struct
from typing import Final, NamedTuple, Self
from uuid import UUID

#: For how long further clicks are duplicates.
HOUR_MS: Final = 3_600_000
#: What one row of `visits` covers. Shorter: more clicks touch two rows. Longer: the rows of
#: the present are spread over more of the index.
QUARTER_MS: Final = 6 * HOUR_MS

_WINDOW: Final = Struct(">q16s")
_QUARTER_BYTES: Final = 4
#: The first whose clicks are compared with any before them.
FIRST_QUARTER: Final = 1
#: More quarters than visits are kept for.
_REACH: Final = 160


class Click(NamedTuple):
    """A click, in the order of its visitor's clicks. `at_ms` is its event time."""

    at_ms: int
    id: UUID

    @classmethod
    def at_time(cls, at: datetime, event_id: UUID) -> Self:
        return cls(round(at.timestamp() * 1000), event_id)


#: Clicks by their visitors: a visitor is a hash and the id of a link.
Clicks = Mapping[bytes, Sequence[Click]]


class Lookup(NamedTuple):
    """Asks for the first duplicate from `low_ms` on and before `high_ms`.

    Also asks whether the month of `displaced` is closed: what it counted stays.
    """

    low_ms: int
    high_ms: int
    displaced: UUID | None = None


class Answer(NamedTuple):
    """The first duplicate in a span of time, if there is one."""

    duplicate: Click | None
    is_closed: bool = False


Lookups = Generator[Lookup, Answer, None]


def quarter_of(at_ms: int) -> int:
    """The quarter of a day in which a moment is, counted from 1970."""
    return at_ms // QUARTER_MS


def key_of(quarter: int, visitor: bytes) -> bytes:
    """The key of a row of `visits`."""
    return quarter.to_bytes(_QUARTER_BYTES) + visitor


def quarter_in(key: bytes) -> int:
    return int.from_bytes(key[:_QUARTER_BYTES])


def visitor_of(key: bytes) -> bytes:
    return key[_QUARTER_BYTES:]


def key_after(key: bytes) -> bytes:
    """The key of the same visitor's next quarter."""
    return key_of(quarter_in(key) + 1, visitor_of(key))


def keys_later(key: bytes) -> list[bytes]:
    """The keys of the same visitor's later quarters, for longer than visits are kept."""
    first, visitor = quarter_in(key) + 1, visitor_of(key)
    return [key_of(quarter, visitor) for quarter in range(first, first + _REACH)]


def keys_concerned(clicks: Clicks) -> set[bytes]:
    """The keys of the rows that are locked for clicks."""
    return {
        key_of(quarter_of(at_ms), visitor)
        for visitor, some in clicks.items()
        for click in some
        for at_ms in (click.at_ms, click.at_ms - HOUR_MS)
    }


def keys_ahead(clicks: Clicks) -> list[bytes]:
    """The keys of the quarters that begin within an hour of clicks."""
    return [
        key_of(quarter_of(click.at_ms) + 1, visitor)
        for visitor, some in clicks.items()
        for click in some
        if click.at_ms % QUARTER_MS >= QUARTER_MS - HOUR_MS
    ]


def provisional(clicks: Clicks) -> dict[bytes, bytes]:
    """The rows that clicks concern, with the windows they open among themselves."""
    rows: dict[bytes, bytes] = {}
    for visitor, some in clicks.items():
        windows = some if len(some) == 1 else windows_of(sorted(some))
        for at_ms, event_id in windows:
            key = key_of(at_ms // QUARTER_MS, visitor)
            window = _WINDOW.pack(at_ms, event_id.bytes)
            rows[key] = rows[key] + window if key in rows else window
            if at_ms % QUARTER_MS < HOUR_MS:
                rows.setdefault(key_of(at_ms // QUARTER_MS - 1, visitor), b"")
        if len(some) > 1:
            for key in keys_concerned({visitor: some}):
                rows.setdefault(key, b"")
    return rows


def pack(visitor: bytes, windows: Iterable[Click]) -> dict[bytes, bytes]:
    """The rows of a visitor whose windows are these, in their order."""
    rows: dict[bytes, bytes] = {}
    for at_ms, event_id in windows:
        key = key_of(quarter_of(at_ms), visitor)
        rows[key] = rows.get(key, b"") + _WINDOW.pack(at_ms, event_id.bytes)
    return rows


def unpack(windows: bytes) -> Iterator[Click]:
    for at_ms, event_id in _WINDOW.iter_unpack(windows):
        yield Click(at_ms, UUID(bytes=event_id))


def windows_of(clicks: Iterable[Click]) -> list[Click]:
    """The clicks that open windows, if there are no others than these, which are in order."""
    windows: list[Click] = []
    for click in clicks:
        if not windows or click.at_ms - windows[-1].at_ms >= HOUR_MS:
            windows.append(click)
    return windows


class Timeline:
    """The windows of one visitor on one link, and what changes about recorded clicks."""

    def __init__(self) -> None:
        """A visitor without any click."""
        #: The clicks that open windows, in order.
        self.windows: list[Click] = []
        #: Recorded clicks whose flag changes: whether they are duplicates from now on.
        self.flips: dict[UUID, bool] = {}
        self._displaced: list[Click] = []

    def load(self, windows: Iterable[Click]) -> None:
        """Take in windows that are stored."""
        self.windows = sorted((*self.windows, *windows))

    def is_duplicate(self, click: Click) -> bool:
        """Whether a click falls into a window that another one opened."""
        place = bisect_right(self.windows, click)
        if not place or self.windows[place - 1] == click:
            return False
        return click.at_ms - self.windows[place - 1].at_ms < HOUR_MS

    def arrive(self, click: Click) -> Lookups:
        """Take in a click; others that it displaces or sets free are flipped."""
        if click not in self.windows and not self.is_duplicate(click):
            yield from self._open(click)

    def leave(self, click: Click) -> Lookups:
        """Let a click go: one of its duplicates may open a window in its place."""
        place = bisect_left(self.windows, click)
        if self.windows[place : place + 1] != [click]:
            return
        del self.windows[place]
        free_ms = self.windows[place - 1].at_ms + HOUR_MS if place else click.at_ms
        span = Lookup(max(click.at_ms, free_ms), click.at_ms + HOUR_MS)
        if heir := self._first(span, (yield span)):
            self._flip(heir, is_duplicate=False)
            yield from self._open(heir)

    def _open(self, click: Click) -> Lookups:
        """Open a window; it may displace the next one, whose last clicks may open another."""
        while True:
            insort(self.windows, click)
            after = self.windows[bisect_right(self.windows, click) :][:1]
            if not after or after[0].at_ms - click.at_ms >= HOUR_MS:
                return
            [displaced] = after
            span = Lookup(
                click.at_ms + HOUR_MS, displaced.at_ms + HOUR_MS, displaced.id
            )
            answer = yield span
            if answer.is_closed:
                return
            self.windows.remove(displaced)
            self._flip(displaced, is_duplicate=True)
            heir = self._first(span, answer)
            if heir is None:
                return
            self._flip(heir, is_duplicate=False)
            click = heir

    def _first(self, span: Lookup, answer: Answer) -> Click | None:
        """The first duplicate, those included that became one just now."""
        found = [
            each
            for each in (*self._displaced, answer.duplicate)
            if each and span.low_ms <= each.at_ms < span.high_ms
        ]
        return min(found, default=None)

    def _flip(self, click: Click, *, is_duplicate: bool) -> None:
        if is_duplicate:
            self._displaced.append(click)
        elif click in self._displaced:
            self._displaced.remove(click)
        # Flipped back, it is as it was.
        if self.flips.pop(click.id, None) is None:
            self.flips[click.id] = is_duplicate
