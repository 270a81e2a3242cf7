"""Runs answers: coroutines without a task, and what takes long in turns.

A task costs more than all else that happens to most requests. A coroutine that runs here is
never cancelled and may wait for futures only: a time limit, or anything else that asks for the
current task, needs a task of its own (`asyncio.create_task` gives a future).
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import Any, Final, Generic, TypeVar

from aiohttp import web

Result = TypeVar("Result")

#: What a round of the event loop gives to what takes long, in microseconds.
_ROUND: Final = 2000
#: What aiohttp needs for any request, and what a byte of a hostile body costs at most.
_REQUEST: Final = 200
_BYTE: Final = 1 / 16
#: Requests of so many bytes take turns.
LARGE: Final = 4096


class Turns:
    """Takes what takes long in turns: a little, then as long a pause while others come.

    Short requests are answered in between. So an edge that gets more long requests than it can
    answer keeps those waiting, and no others.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[float, Callable[[], None]]] = deque()
        #: How many requests came that are answered at once, and how many until the last turn.
        self.short = self._seen = 0

    def take(self, act: Callable[[], None], size: int = 0) -> None:
        """Call `act` when it has its turn, soon; it is about so many bytes."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._round)
        self._waiting.append((_REQUEST + size * _BYTE, act))

    async def turn(self, size: int) -> None:
        """Wait until what follows may take the time for so many bytes."""
        begun = asyncio.get_running_loop().create_future()

        def begin() -> None:
            if not begun.done():
                begun.set_result(None)

        self.take(begin, size)
        await begun

    def _round(self) -> None:
        took = 0.0
        try:
            while self._waiting and took < _ROUND:
                cost, act = self._waiting[0]
                took += cost
                try:
                    act()
                finally:
                    self._waiting.popleft()
        finally:
            if self._waiting:
                pause = took / 1e6 if self.short > self._seen else 0
                self._seen = self.short
                asyncio.get_running_loop().call_later(pause, self._round)


#: Where an application keeps them.
TURNS: Final[web.AppKey[Turns]] = web.AppKey("turns", Turns)


class _Run(Generic[Result]):
    """A coroutine under way."""

    __slots__ = ("_coroutine", "_done", "_took")

    def __init__(
        self,
        coroutine: Coroutine[asyncio.Future[Any], None, Result],
        done: Callable[[Result], None],
        took: Callable[[float], None],
    ) -> None:
        self._coroutine = coroutine
        self._done = done
        self._took = took

    def step(self, _: object = None) -> None:
        """Go on until it waits for something, or has its result."""
        began = perf_counter()
        try:
            awaited = self._coroutine.send(None)
        except StopIteration as ended:
            self._done(ended.value)
        else:
            awaited.add_done_callback(self.step)
        finally:
            self._took(perf_counter() - began)


def run(
    coroutine: Coroutine[Any, Any, Result],
    done: Callable[[Result], None],
    took: Callable[[float], None],
) -> None:
    """Call `done` with the coroutine's result: now, if it need not wait, or later.

    `took` is called with the seconds of each step. What the coroutine raises is raised here,
    or goes to the event loop's handler.
    """
    _Run(coroutine, done, took).step()
