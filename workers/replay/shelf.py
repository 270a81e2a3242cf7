"""The archive in small pages. Used by `sources`.

Its reader gives a frame of a segment at a time, far more entries than a page may have beside
live traffic; what it gave last is kept until all of it was taken.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from workers.archive.reading import Page, read
from workers.batch import Delivery

#: Few, since whatever is done with them keeps live traffic of the process waiting; who asks
#: for a high rate has asked for that.
PAGE: Final = 100
_MOST: Final = 1000
_PAGES_A_SECOND: Final = 20


class Place(NamedTuple):
    """Where the archive's reader goes on; so many entries of what it gives are done."""

    cursor: str | None
    done: int


def page_size(rate: int, scanned: int) -> int:
    """How many entries to take at once where so many a second are asked for.

    Many, where the last page held nothing that is asked for: to look at them takes little.
    """
    return min(_MOST, max(PAGE, rate // _PAGES_A_SECOND)) if scanned else _MOST


class Shelf:
    """One directory of segments."""

    def __init__(self, directory: Path) -> None:
        """Nothing is read yet."""
        self._directory = directory
        self._last: tuple[object, Page] | None = None

    async def take(
        self, shard: int, span: tuple[int, int], place: Place, count: int
    ) -> tuple[Sequence[Delivery], Place | None]:
        """The next entries, and the place behind them; None: nowhere. Raises OSError.

        `span` is the times that are asked for, in Unix milliseconds.
        """
        page = await self._read(shard, span, place.cursor)
        until = place.done + count
        some = page.deliveries[place.done : until]
        if until < len(page.deliveries):
            return some, place._replace(done=until)
        self._last = None
        return some, None if page.next is None else Place(page.next, 0)

    async def _read(
        self, shard: int, span: tuple[int, int], cursor: str | None
    ) -> Page:
        asked = (shard, span, cursor)
        if self._last is None or self._last[0] != asked:
            page = await asyncio.to_thread(read, self._directory, *span, shard, cursor)
            self._last = (asked, page)
        return self._last[1]
