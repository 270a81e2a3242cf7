import asyncio
from contextlib import suppress

import pytest

from scripts.stack.readiness import heed_cancellation


async def test_a_cancellation_that_was_lost_on_the_way_is_heeded() -> None:
    async def loses_it() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        heed_cancellation()
        raise AssertionError("it went on")

    task = asyncio.create_task(loses_it())
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_task_that_nobody_cancelled_goes_on() -> None:
    heed_cancellation()
