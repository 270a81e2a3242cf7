"""Tasks that run beside others."""

import asyncio
from typing import Any, Final

_AGAIN_SECONDS: Final = 0.5


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel a task until it has ended; raises what it raised.

    More than once: clients of servers drop a cancellation that comes in the moment of an
    answer (16 of 400, of a task that connects and asks again and again).
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=_AGAIN_SECONDS)
    if not task.cancelled():
        task.result()
