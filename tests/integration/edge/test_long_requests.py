"""Long requests wait for their turn, and short ones pass them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import orjson
import pytest

from ingest.http.driver import Turns
from ingest.http.server import Bounds
from tests.support.edge.showcase import publish
from tests.support.eventually import eventually
from tests.support.servers.raw_http import (
    TAKEN,
    WHOLE,
    Answer,
    Caller,
    an_edge,
    count,
)

_MANY = 40
#: On a busy machine the first caller waits long for its turn to send.
_PATIENT = Bounds(most=1000)
_BODY = orjson.dumps(
    {"affiliate_url": "https://example.com/?aff=SARAH", "padding": "x" * 16_000}
)
#: What the edge answers itself, and what aiohttp does.
_LONG = {
    "plain": TAKEN % (len(_BODY), _BODY),
    "lent": (TAKEN % (len(_BODY), _BODY)).replace(
        b"Host", b"Connection: close\r\nHost"
    ),
}


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as made:
        yield made


async def _answered(caller: Caller, answers: list[Answer]) -> None:
    answers.append(await caller.answer())


@pytest.mark.parametrize("long", _LONG.values(), ids=_LONG)
async def test_a_click_is_answered_before_long_requests_that_came_earlier(
    redis_url: str, tmp_path: Path, stack: AsyncExitStack, long: bytes
) -> None:
    await publish(redis_url)
    edge = await stack.enter_async_context(an_edge(redis_url, tmp_path, _PATIENT))
    short = await stack.enter_async_context(edge.caller())
    callers = [await stack.enter_async_context(edge.caller()) for _ in range(_MANY)]
    answers = list[Answer]()
    async with asyncio.TaskGroup() as group:
        for caller in callers:
            await caller.send(long)
            group.create_task(_answered(caller, answers))
        await short.send(WHOLE)
        assert 200 == (await short.answer()).status
        earlier = len(answers)

    assert earlier < _MANY
    assert [200] * _MANY == [answer.status for answer in answers]
    assert _MANY + 1 == await count(redis_url)


async def test_who_was_refused_waits_for_a_turn(
    redis_url: str,
    tmp_path: Path,
    stack: AsyncExitStack,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await publish(redis_url)
    waited, take = list[int](), Turns.take

    def noting(turns: Turns, act: Callable[[], None], size: int = 0) -> None:
        waited.append(size)
        take(turns, act, size)

    monkeypatch.setattr(Turns, "take", noting)
    edge = await stack.enter_async_context(an_edge(redis_url, tmp_path, _PATIENT))
    caller = await stack.enter_async_context(edge.caller())
    wrong, found = TAKEN % (2, b"{}"), list[tuple[int, int]]()
    for request in (WHOLE, wrong, wrong, WHOLE, WHOLE):
        before = len(waited)
        await caller.send(request)
        found.append(((await caller.answer()).status, len(waited) - before))

    assert [(200, 0), (400, 0), (400, 1), (200, 1), (200, 0)] == found


async def test_who_hangs_up_while_waiting_is_left_out(
    redis_url: str, tmp_path: Path, stack: AsyncExitStack
) -> None:
    await publish(redis_url)
    edge = await stack.enter_async_context(an_edge(redis_url, tmp_path))
    for long in _LONG.values():
        async with edge.caller() as caller:
            await caller.send(long * 3)

    assert 200 == (await edge.says(_LONG["plain"])).status


@pytest.mark.parametrize("long", _LONG.values(), ids=_LONG)
async def test_an_edge_that_stops_answers_those_that_wait(
    redis_url: str, tmp_path: Path, stack: AsyncExitStack, long: bytes
) -> None:
    await publish(redis_url)
    running = AsyncExitStack()
    edge = await running.enter_async_context(an_edge(redis_url, tmp_path))
    callers = [await stack.enter_async_context(edge.caller()) for _ in range(_MANY)]
    for caller in callers:
        await caller.send(long)

    async def has_begun() -> bool:
        return 0 < await count(redis_url)

    await eventually(has_begun)
    await running.aclose()

    answers = [await caller.answer() for caller in callers]
    assert [200] * _MANY == [answer.status for answer in answers]
    assert _MANY == await count(redis_url)
