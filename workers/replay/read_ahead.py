"""Reads a part's next page while PostgreSQL compares and records the present one."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from workers.replay.sources import Cursor, ReplayPage


class ReadAhead:
    """The pages of one part, in their order. `close` it."""

    def __init__(
        self, read: Callable[[Cursor], Coroutine[Any, Any, ReplayPage]]
    ) -> None:
        """`read` reads the page at a cursor."""
        self._read = read
        self._task: asyncio.Task[ReplayPage] | None = None

    async def page(self, cursor: Cursor) -> ReplayPage:
        """The page at the first cursor, or at the last page's `next`; begins the one after it.

        Raises what reading it raises.
        """
        task = self._task = self._task or self._begun(cursor)
        page = await task
        self._task = None if page.next is None else self._begun(page.next)
        return page

    def _begun(self, cursor: Cursor) -> asyncio.Task[ReplayPage]:
        task = asyncio.create_task(self._read(cursor))
        task.add_done_callback(_retrieve)
        return task

    async def close(self) -> None:
        """Forget what was read ahead. A thread that reads goes on to the end of its page."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})


def _retrieve(task: asyncio.Task[ReplayPage]) -> None:
    """Take what a task raised, so that asyncio does not report it where nobody asks for the page."""
    if not task.cancelled():
        task.exception()
