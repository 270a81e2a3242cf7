"""Limits how many events of batches are processed at once.

A few batches could otherwise block the event loop beyond other requests' timeouts, and fill
the queue of appends. Batches wait here instead, and their senders with them.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from ingest.dialects.spec import Refusal

_TURN_SECONDS: Final = 5.0
_RETRY_AFTER: Final = 1  # seconds


class BatchSlots:
    """Admits batches, first come, first served, as long as there is room."""

    def __init__(self, most: int) -> None:
        """At most `most` events at once; a larger batch is admitted alone."""
        self._most = most
        self._under_way = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def of(self, events: int) -> AsyncIterator[None]:
        """Hold room for so many events; raises Refusal if there is none for seconds."""
        await self._enter(events)
        try:
            yield
        finally:
            self._under_way -= events
            self._admit_waiting()

    async def _enter(self, events: int) -> None:
        if not self._waiting and self._has_room(events):
            self._under_way += events
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((events, turn))
        try:
            async with asyncio.timeout(_TURN_SECONDS):
                await turn
        except TimeoutError:
            self._cancel(events, turn)
            raise Refusal("overloaded", retry_after=_RETRY_AFTER) from None
        except asyncio.CancelledError:
            self._cancel(events, turn)
            raise

    def _cancel(self, events: int, turn: "asyncio.Future[None]") -> None:
        if turn.cancelled():
            self._waiting = deque(each for each in self._waiting if each[1] is not turn)
        else:  # admitted at the same moment
            self._under_way -= events
        self._admit_waiting()

    def _has_room(self, events: int) -> bool:
        return self._under_way == 0 or self._under_way + events <= self._most

    def _admit_waiting(self) -> None:
        while self._waiting and self._has_room(self._waiting[0][0]):
            events, turn = self._waiting.popleft()
            if not turn.done():
                self._under_way += events
                turn.set_result(None)
