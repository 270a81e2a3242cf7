import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ingest.redis_io.client import (
    REDIS_ERRORS,
    Coalescer,
    QueueFull,
    RedisBreaker,
    connect,
)


class Doubler:
    """Answers with the double, when it is let."""

    def __init__(self) -> None:
        self.flushes: list[list[int]] = []
        self.gate = asyncio.Event()
        self.error: Exception | None = None

    async def flush(self, items: Sequence[int]) -> Sequence[int]:
        self.flushes.append(list(items))
        await self.gate.wait()
        if self.error:
            raise self.error
        return [item * 2 for item in items]


@asynccontextmanager
async def started(
    doubler: Doubler, *, in_flight: int = 1, per_flush: int = 500, pending: int = 100
) -> AsyncIterator[Coalescer[int, int]]:
    coalescer = Coalescer(
        doubler.flush, in_flight=in_flight, per_flush=per_flush, pending=pending
    )
    coalescer.start()
    yield coalescer
    doubler.gate.set()
    await coalescer.stop()


async def flushed(doubler: Doubler, count: int) -> None:
    async with asyncio.timeout(5):
        while len(doubler.flushes) < count:
            await asyncio.sleep(0)


async def test_what_comes_during_a_flush_rides_the_next_one() -> None:
    doubler = Doubler()
    async with started(doubler) as coalescer, asyncio.TaskGroup() as tasks:
        first = tasks.create_task(coalescer.ask(1))
        await flushed(doubler, 1)
        others = [tasks.create_task(coalescer.ask(number)) for number in (2, 3, 4)]
        await asyncio.sleep(0)
        doubler.gate.set()

    assert [[1], [2, 3, 4]] == doubler.flushes
    assert [2, 4, 6, 8] == [task.result() for task in (first, *others)]


async def test_a_flush_has_a_largest_size() -> None:
    doubler = Doubler()
    async with (
        started(doubler, per_flush=2) as coalescer,
        asyncio.TaskGroup() as tasks,
    ):
        for number in range(5):
            tasks.create_task(coalescer.ask(number))
        await flushed(doubler, 1)
        doubler.gate.set()

    assert [[0, 1], [2, 3], [4]] == doubler.flushes


async def test_no_more_flushes_are_under_way_than_allowed() -> None:
    doubler = Doubler()
    async with (
        started(doubler, in_flight=2) as coalescer,
        asyncio.TaskGroup() as tasks,
    ):
        for number in range(4):
            tasks.create_task(coalescer.ask(number))
            for _ in range(5):
                await asyncio.sleep(0)
        assert [[0], [1]] == doubler.flushes
        doubler.gate.set()


async def test_too_much_at_once_is_refused() -> None:
    doubler = Doubler()
    async with started(doubler, pending=2) as coalescer, asyncio.TaskGroup() as tasks:
        tasks.create_task(coalescer.ask(0))
        await flushed(doubler, 1)
        tasks.create_task(coalescer.ask(1))
        tasks.create_task(coalescer.ask(2))
        await asyncio.sleep(0)

        with pytest.raises(QueueFull):
            await coalescer.ask(3)
        doubler.gate.set()


async def test_what_a_flush_raises_reaches_everyone_and_the_next_one_works() -> None:
    doubler = Doubler()
    doubler.gate.set()
    async with started(doubler) as coalescer:
        doubler.error = ValueError("no")
        with pytest.raises(ValueError, match="no"):
            await coalescer.ask(1)
        doubler.error = None

        assert 4 == await coalescer.ask(2)


async def test_a_caller_who_left_keeps_nobody_from_an_answer() -> None:
    doubler = Doubler()
    async with started(doubler) as coalescer, asyncio.TaskGroup() as tasks:
        leaving = asyncio.create_task(coalescer.ask(1))
        staying = tasks.create_task(coalescer.ask(2))
        await flushed(doubler, 1)
        leaving.cancel()
        await asyncio.wait([leaving])
        doubler.gate.set()

    assert leaving.cancelled()
    assert 4 == staying.result()


async def test_nothing_is_done_for_callers_who_left_before_their_turn() -> None:
    doubler = Doubler()
    async with started(doubler) as coalescer, asyncio.TaskGroup() as tasks:
        tasks.create_task(coalescer.ask(1))
        await flushed(doubler, 1)
        leaving = [asyncio.create_task(coalescer.ask(number)) for number in (2, 3)]
        await asyncio.sleep(0)
        leaving[0].cancel()
        await asyncio.wait([leaving[0]])
        doubler.gate.set()

    assert [[1], [3]] == doubler.flushes
    assert 6 == await leaving[1]


async def test_stopping_answers_what_was_asked() -> None:
    doubler = Doubler()
    async with started(doubler) as coalescer:
        asked = asyncio.create_task(coalescer.ask(1))
        await flushed(doubler, 1)

    assert 2 == await asked


# The breaker -----------------------------------------------------------------------------


async def test_one_failure_spares_all_who_share_the_breaker(tmp_path: Path) -> None:
    breaker = RedisBreaker()
    client = connect(f"unix://{tmp_path}/none", connections=2, breaker=breaker)
    with pytest.raises(REDIS_ERRORS, match="none"):
        await client.ping()
    assert breaker.is_open

    with pytest.raises(REDIS_ERRORS, match="not asked"):
        await client.ping()
    await client.aclose()


async def test_an_answer_that_does_not_come_opens_the_breaker(tmp_path: Path) -> None:
    silent = await asyncio.start_unix_server(_never_answer, tmp_path / "silent")
    breaker = RedisBreaker()
    client = connect(
        f"unix://{tmp_path}/silent", connections=2, answer_within=0.05, breaker=breaker
    )
    async with silent:
        with pytest.raises(REDIS_ERRORS):
            await client.ping()
        assert breaker.is_open
        await client.aclose()


async def _never_answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await reader.read()
    writer.close()


async def test_a_refusal_is_an_answer(redis_url: str) -> None:
    breaker = RedisBreaker()
    client = connect(redis_url, connections=2, breaker=breaker)
    await client.set("text", "x")
    with pytest.raises(REDIS_ERRORS, match="WRONGTYPE"):
        await client.llen("text")
    assert not breaker.is_open

    breaker.trip("first")
    breaker.trip("second")
    assert "first" == breaker.problem
    breaker.close()
    assert b"x" == await client.get("text")
    await client.aclose()
