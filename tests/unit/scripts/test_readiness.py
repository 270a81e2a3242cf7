import asyncio
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

import pytest

from scripts.stack.readiness import heed_cancellation
from scripts.stack.supervision import GaveUp, keep


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


class Dying:
    """A process that has ended whenever one looks."""

    name = "worker 1"
    log: Path | None = None

    def __init__(self) -> None:
        self.starts = 0
        self.exited: Future[int] = Future()
        self.exited.set_result(1)

    async def restart(self) -> None:
        self.starts += 1


async def test_five_ends_within_half_a_minute_are_too_many() -> None:
    process = Dying()

    with pytest.raises(GaveUp, match="worker 1 ended 5 times within 30 s"):
        await keep(process, process.restart, lambda _: None)

    assert 4 == process.starts
