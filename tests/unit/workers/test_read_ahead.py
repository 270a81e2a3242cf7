"""The next page of a replay is read while the present one is recorded."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.support.eventually import eventually
from workers.model.batch import TransientError
from workers.replay.read_ahead import ReadAhead
from workers.replay.sources import Cursor, ReplayPage


def _at(place: int) -> Cursor:
    return Cursor(epoch=1, at=f"{place}-0", end="3-0")


class _Shard:
    """Three pages, of which the third waits until it may be read, or fails."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.may_end = asyncio.Event()
        self._failure = failure

    async def read(self, cursor: Cursor) -> ReplayPage:
        self.begun.append(cursor.at)
        try:
            if cursor == _at(2):
                await self.may_end.wait()
                if self._failure:
                    raise self._failure
        finally:
            self.ended.append(cursor.at)
        place = len(self.begun)
        return ReplayPage((), place, _at(place) if place < 3 else None)

    def has_begun(self, place: str) -> Callable[[], Awaitable[bool]]:
        async def has() -> bool:
            return place in self.begun

        return has

    def has_ended(self, place: str) -> Callable[[], Awaitable[bool]]:
        async def has() -> bool:
            return place in self.ended

        return has


async def test_pages_come_in_order_and_each_is_read_once_ahead() -> None:
    shard = _Shard()
    pages = ReadAhead(shard.read)

    first = await pages.page(_at(0))
    await eventually(shard.has_begun("1-0"))
    assert first.next is not None
    second = await pages.page(first.next)
    # Nobody has asked for it.
    await eventually(shard.has_begun("2-0"))
    shard.may_end.set()
    assert second.next is not None
    third = await pages.page(second.next)
    await pages.close()

    assert [1, 2, 3] == [first.read, second.read, third.read]
    assert ["0-0", "1-0", "2-0"] == shard.begun == shard.ended


async def test_when_it_is_closed_nothing_is_being_read_any_more() -> None:
    shard = _Shard()
    pages = ReadAhead(shard.read)
    for place in range(2):
        await pages.page(_at(place))
    await eventually(shard.has_begun("2-0"))

    await pages.close()

    assert shard.begun == shard.ended


async def test_a_failure_comes_with_its_page_and_with_no_other() -> None:
    shard = _Shard(TransientError("away"))
    shard.may_end.set()
    pages = ReadAhead(shard.read)

    assert 2 == [(await pages.page(_at(place))).read for place in range(2)][-1]
    await eventually(shard.has_ended("2-0"))
    with pytest.raises(TransientError, match="away"):
        await pages.page(_at(2))
    await pages.close()
