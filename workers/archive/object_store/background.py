"""Blocking calls that do not delay the end of the process.

The event loop waits at its end for the threads of `asyncio.to_thread`, even if a remote
server never answers.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import TypeVar

_Result = TypeVar("_Result")


async def in_daemon_thread(work: Callable[[], _Result]) -> _Result:
    """Run `work` in a daemon thread; returns and raises what it does."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_Result] = loop.create_future()

    def set_result(result: _Result | None, error: BaseException | None) -> None:
        if future.done():
            return  # the caller was cancelled
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result: _Result | None = None
        error: BaseException | None = None
        try:
            result = work()
        except BaseException as raised:  # noqa: BLE001 -- it is raised where it is awaited
            error = raised
        # The loop is closed: the process is ending.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(set_result, result, error)

    Thread(target=run, daemon=True).start()
    return await future
