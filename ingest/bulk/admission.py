"""Limits how many events of batches are processed at once, and shares that by workspace.

A few batches could otherwise block the event loop beyond other requests' timeouts, and fill
the queue of appends. Batches wait here instead, and their senders with them. While several
workspaces send batches, each has a small share, and they take turns.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Final, NamedTuple

from ingest.dialects.spec.refusal import Refusal

_TURN_SECONDS: Final = 5.0
#: A workspace that has sent batches within this time is going to send more.
_ACTIVE_SECONDS: Final = 1.0
_RETRY_AFTER: Final = 1  # seconds


class _Waiting(NamedTuple):
    """A part of a batch that waits, and the future of its turn."""

    events: int
    turn: asyncio.Future[None]


class BatchSlots:
    """Admits batches as long as there is room, those of one workspace in their order."""

    def __init__(
        self, most: int, share: int, clock: Callable[[], float] = monotonic
    ) -> None:
        """At most `most` events at once; `share` of a workspace that is not alone.

        A larger batch is admitted alone. `clock` gives seconds.
        """
        self._most = most
        self._share = share
        self._clock = clock
        self._under_way: Counter[Hashable] = Counter()
        #: By workspace; who was admitted last comes last.
        self._waiting: dict[Hashable, deque[_Waiting]] = {}
        self._active: dict[Hashable, float] = {}

    @asynccontextmanager
    async def of(self, workspace: Hashable, events: int) -> AsyncIterator[None]:
        """Hold room for so many events; raises Refusal if there is none for seconds."""
        await self._enter(workspace, events)
        try:
            yield
        finally:
            self._leave(workspace, events)

    async def _enter(self, workspace: Hashable, events: int) -> None:
        self._active[workspace] = self._clock()
        if not self._waiting and self._has_room(workspace, events):
            self._under_way[workspace] += events
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(events, turn)
        self._waiting.setdefault(workspace, deque()).append(waiting)
        self._admit_waiting()
        try:
            async with asyncio.timeout(_TURN_SECONDS):
                await turn
        except TimeoutError:
            self._cancel(workspace, waiting)
            raise Refusal("overloaded", retry_after=_RETRY_AFTER) from None
        except asyncio.CancelledError:
            self._cancel(workspace, waiting)
            raise

    def _leave(self, workspace: Hashable, events: int) -> None:
        self._under_way[workspace] -= events
        if not self._under_way[workspace]:
            del self._under_way[workspace]
        self._active[workspace] = self._clock()
        self._admit_waiting()

    def _cancel(self, workspace: Hashable, waiting: _Waiting) -> None:
        if not waiting.turn.cancelled():  # admitted at the same moment
            self._leave(workspace, waiting.events)
            return
        own = self._waiting.get(workspace, ())
        # Who made room at the same moment may have passed over it already.
        if own and waiting in own:
            own.remove(waiting)
            if not own:
                del self._waiting[workspace]
        self._admit_waiting()

    def _has_room(self, workspace: Hashable, events: int) -> bool:
        total, own = self._under_way.total(), self._under_way[workspace]
        if total == 0:
            return True
        most = self._most if self._is_alone(workspace) else self._share
        return total + events <= self._most and (own == 0 or own + events <= most)

    def _is_alone(self, workspace: Hashable) -> bool:
        """Whether no other workspace has sent batches for a while."""
        since = self._clock() - _ACTIVE_SECONDS
        self._active = {
            each: at
            for each, at in self._active.items()
            if at > since or each in self._under_way or each in self._waiting
        }
        return self._active.keys() <= {workspace}

    def _admit_waiting(self) -> None:
        """Admit one part of each workspace after the other, until no more have room."""
        while (workspace := self._next()) is not None:
            own = self._waiting.pop(workspace)
            events, turn = own.popleft()
            if own:
                self._waiting[workspace] = own
            if not turn.done():
                self._under_way[workspace] += events
                turn.set_result(None)

    def _next(self) -> Hashable | None:
        """The workspace whose turn it is, if there is room for it."""
        fits = (
            workspace
            for workspace, waiting in self._waiting.items()
            if self._has_room(workspace, waiting[0].events)
        )
        return next(fits, None)
