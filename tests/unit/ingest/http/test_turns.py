"""Long requests take turns, and short ones are answered in between."""

import asyncio
from collections.abc import Callable
from typing import Any

from ingest.http.driver import Turns

_LONG = 64 * 1024
#: Of one that long: 4.3 ms, see `Turns`.
_SECONDS = 0.004


async def _rounds(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def _noting(order: list[str], what: str) -> Callable[[], None]:
    return lambda: order.append(what)


async def test_in_a_round_of_the_loop_one_long_request_has_its_turn() -> None:
    turns, order = Turns(), list[str]()
    for what in ("first", "second"):
        turns.take(_noting(order, what), _LONG)

    asyncio.get_running_loop().call_soon(order.append, "short")
    await turns.turn(0)

    assert ["first", "short", "second"] == order


async def test_in_a_round_several_have_theirs_that_take_less() -> None:
    turns, order = Turns(), list[str]()
    for number in range(20):
        turns.take(_noting(order, str(number)))

    await _rounds(1)

    assert [str(number) for number in range(10)] == order


async def test_while_short_requests_come_there_is_a_pause_as_long() -> None:
    turns, order = Turns(), list[str]()
    for what in ("first", "second"):
        turns.take(_noting(order, what), _LONG)
    turns.short += 1
    began = asyncio.get_running_loop().time()

    await turns.turn(0)

    assert _SECONDS <= asyncio.get_running_loop().time() - began
    assert ["first", "second"] == order


async def test_who_gives_up_waiting_holds_nobody_up() -> None:
    turns, order = Turns(), list[str]()
    waiting = asyncio.create_task(turns.turn(_LONG))
    await _rounds(1)
    turns.take(_noting(order, "next"))

    waiting.cancel()
    await turns.turn(0)

    assert ["next"] == order


async def test_one_that_fails_holds_nobody_up_and_is_told() -> None:
    turns, order, told = Turns(), list[str](), list[Any]()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, what: told.append(what["exception"]))

    def fail() -> None:
        raise LookupError

    turns.take(fail)
    turns.take(_noting(order, "next"))
    await turns.turn(0)

    assert ["next"] == order
    assert [LookupError] == [type(each) for each in told]
