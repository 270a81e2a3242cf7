import asyncio

import pytest

from workers.model.batch import Delivery
from workers.stream.consumer import Consumer
from workers.stream.shard import ReaderConfig, ShardPage


class Deaf:
    """A shard whose client loses the one cancellation that its reader ever gets."""

    def __init__(self, number: int, *, is_broken: bool = False) -> None:
        self.number = number
        self.was_cancelled = False
        self._is_broken = is_broken

    async def prepare(self) -> None:
        """Nothing to prepare."""

    async def own(self, _: bytes) -> ShardPage:
        return ShardPage((), None)

    async def idle(self, _: bytes) -> ShardPage:
        return ShardPage((), None)

    async def fresh(self) -> list[Delivery]:
        if self._is_broken:
            raise ZeroDivisionError
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.was_cancelled = True
        return []


async def test_a_reader_that_fails_ends_those_that_do_not_hear_it() -> None:
    stop = asyncio.Event()
    deaf = Deaf(1)
    shards = [deaf, Deaf(0, is_broken=True)]
    consumer = Consumer(shards, None, ReaderConfig(name="w", batch_size=1), stop=stop)

    async with asyncio.timeout(5):
        with pytest.raises(ExceptionGroup) as raised:
            await consumer.run()

    assert [ZeroDivisionError] == [type(one) for one in raised.value.exceptions]
    assert deaf.was_cancelled
    assert stop.is_set()
