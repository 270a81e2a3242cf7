"""Runs a coroutine without a task: for answers that are never cancelled.

A task costs more than all else that happens to most requests. What runs here may wait for
futures only: a time limit, or anything else that asks for the current task, needs a task of
its own (`asyncio.create_task` gives a future).
"""

import asyncio
from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


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
