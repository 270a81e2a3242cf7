"""Waiting for what another task or process does: by looking, with a deadline."""

import asyncio
import time
from collections.abc import Awaitable, Callable

_LOOK_AGAIN_SECONDS = 0.02


async def eventually(
    holds: Callable[[], Awaitable[bool]], *, within: float = 90.0
) -> float:
    """Return when it holds, and after how many seconds; fail when it does not."""
    began = time.monotonic()
    while not await holds():
        waited = time.monotonic() - began
        assert waited < within, f"not within {within} s"
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)
    return time.monotonic() - began
