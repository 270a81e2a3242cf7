"""The edge is thin: one Affitor click passes few functions, in few modules."""

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

import ingest
from tests.support.edge.showcase import publish
from tests.support.servers.raw_http import WHOLE, Edge, an_edge

_ROOT = str(Path(ingest.__file__).parent)
#: What an edge does by the clock, whether clicks come or not.
_BY_THE_CLOCK = {
    "directory/invalidation.py",
    "durable/append_counts.py",
    "durable/drain.py",
    "durable/pressure.py",
    "durable/probe.py",
    "http/server.py",
}


@pytest.fixture
async def edge(redis_url: str, tmp_path: Path) -> AsyncIterator[Edge]:
    await publish(redis_url)
    async with an_edge(redis_url, tmp_path) as made:
        yield made


@contextmanager
def called() -> Iterator[set[tuple[str, str]]]:
    """The functions of the edge that are called meanwhile, each with its module."""
    found: set[tuple[str, str]] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(_ROOT):
            module = code.co_filename.removeprefix(_ROOT + "/")
            found.add((module, code.co_qualname))

    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(None)


async def test_a_click_passes_at_most_45_functions_in_at_most_15_modules(
    edge: Edge,
) -> None:
    async with edge.caller() as caller:
        for _ in range(3):  # until the link is in memory, and its answer is made
            await caller.send(WHOLE)
            assert 200 == (await caller.answer()).status

        with called() as found:
            await caller.send(WHOLE)
            assert 200 == (await caller.answer()).status

    functions = {each for each in found if each[0] not in _BY_THE_CLOCK}
    modules = {module for module, _ in functions}
    assert 10 < len(functions) <= 45, sorted(functions)
    assert 5 < len(modules) <= 15, sorted(modules)
