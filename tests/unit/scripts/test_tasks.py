import asyncio
from contextlib import suppress

import pytest

from scripts import tasks


async def _forever() -> None:
    await asyncio.Event().wait()


async def _until_told_twice() -> None:
    with suppress(asyncio.CancelledError):
        await _forever()
    await _forever()


async def test_a_task_that_dropped_a_cancellation_is_ended() -> None:
    task = asyncio.create_task(_until_told_twice())
    await asyncio.sleep(0)

    async with asyncio.timeout(10):
        await tasks.end(task)
    assert task.cancelled()


async def test_what_a_task_raised_is_raised() -> None:
    async def fail() -> None:
        raise LookupError

    task = asyncio.create_task(fail())
    await asyncio.sleep(0)

    with pytest.raises(LookupError):
        await tasks.end(task)
