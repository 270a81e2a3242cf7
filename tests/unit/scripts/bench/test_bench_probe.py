"""What `reftide bench compare` notes of a click."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from scripts.bench.compare import probe as probes
from scripts.bench.compare.probe import Probe

CLICKS = 350


class Edge:
    """An edge in three functions: one enters, one takes the bytes, one is between."""

    def __init__(self) -> None:
        self.taken = 0

    def take(self) -> None:
        self.taken += 1

    def work(self) -> None:
        sum(range(2000))


def probed(edge: Edge) -> tuple[Probe, Callable[[], None]]:
    probe = Probe(root=__file__.rpartition("/")[0])
    return probe, probe.sink(edge.take)


def test_a_plain_call_is_timed_as_far_as_to_the_bytes() -> None:
    edge = Edge()
    probe, take = probed(edge)

    def answer() -> str:
        edge.work()
        take()
        for _ in range(50):
            edge.work()
        return "answer"

    entered = probe.entrance(answer)
    answers = {entered() for _ in range(CLICKS)}

    report = probe.report()
    assert {"answer"} == answers
    assert CLICKS == edge.taken
    assert CLICKS - 300 == report["clicks"]
    assert 0 < report["core_us"]
    assert 3 == report["functions"]
    assert 1 == report["modules"]


async def test_of_a_coroutine_waiting_is_not_counted() -> None:
    edge = Edge()
    probe, take = probed(edge)

    async def answer() -> str:
        edge.work()
        await asyncio.sleep(0)
        edge.work()
        take()
        await asyncio.sleep(0)
        return "answer"

    entered: Callable[[], Awaitable[str]] = probe.entrance(answer)
    answers = {await entered() for _ in range(CLICKS)}

    assert {"answer"} == answers
    assert CLICKS - 300 == probe.report()["clicks"]
    assert all(0 < spent for spent in probe.times)


def test_a_coroutine_may_be_driven_by_hand() -> None:
    edge = Edge()
    probe, take = probed(edge)

    async def answer() -> str:
        take()
        return "answer"

    driven = probe.entrance(answer)()

    with pytest.raises(StopIteration) as end:
        driven.send(None)
    assert "answer" == end.value.value


async def test_a_plain_call_may_begin_a_coroutine_of_the_same_click() -> None:
    edge = Edge()
    probe, take = probed(edge)
    driven: list[Awaitable[None]] = []

    async def accept() -> None:
        edge.work()
        await asyncio.sleep(0)
        take()

    accepted = probe.entrance(accept)
    entered = probe.entrance(lambda: driven.append(accepted()))
    for _ in range(CLICKS):
        entered()
        await driven.pop()

    assert CLICKS == edge.taken == probe.entered
    assert CLICKS - 300 == probe.report()["clicks"]


def test_every_way_in_and_out_that_is_named_is_of_some_version() -> None:
    found = [
        f"{module}.{name}.{method}"
        for places in (probes.ENTRANCES, probes.SINKS)
        for module, name, method in places[:1]
    ]

    for place in found:
        module, name, method = place.rsplit(".", 2)
        owner = getattr(__import__(module, fromlist=[name]), name)
        assert callable(getattr(owner, method))
