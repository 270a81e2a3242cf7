"""Blocking calls that nobody has to wait for when the process ends.

What `asyncio.to_thread` runs is waited for at the end of the loop, however long a server on
the other side says nothing.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import TypeVar

_Result = TypeVar("_Result")


async def in_daemon_thread(work: Callable[[], _Result]) -> _Result:
    """Do it in a thread of its own that ends with the process; raises what it raises."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_Result] = loop.create_future()

    def set_result(result: _Result | None, error: BaseException | None) -> None:
        if future.done():
            return  # nobody waits any more
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
        # Closed: the process is ending.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(set_result, result, error)

    Thread(target=run, daemon=True).start()
    return await future
