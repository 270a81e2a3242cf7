"""The edge is thin: one Affitor click passes few functions, in few modules."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import ingest
from tests.support.edge.showcase import publish
from tests.support.servers.raw_http import WHOLE, an_edge

_ROOT = str(Path(ingest.__file__).parent)
#: What an edge does by the clock, whether clicks come or not, begins in these.
_BY_THE_CLOCK = (
    "directory/invalidation.py",
    "durable/append_counts.py",
    "durable/drain.py",
    "durable/former_edges.py",
    "durable/probes/",
    "http/server.py",
)


def _module(frame: FrameType) -> str:
    """The module of the edge that it is in; empty if it is in none."""
    file = frame.f_code.co_filename
    return file.removeprefix(f"{_ROOT}/") if file.startswith(_ROOT) else ""


def _is_by_the_clock(frame: FrameType | None) -> bool:
    """Whether the clock began this, and no click."""
    began_in = ""
    while frame is not None:
        began_in = _module(frame) or began_in
        frame = frame.f_back
    return began_in.startswith(_BY_THE_CLOCK)


@contextmanager
def called() -> Iterator[set[tuple[str, str]]]:
    """The functions of the edge that are called meanwhile, each with its module."""
    found: set[tuple[str, str]] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        module = _module(frame)
        if event == "call" and module and not _is_by_the_clock(frame):
            found.add((module, frame.f_code.co_qualname))

    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(None)


async def passed(url: str, path: Path, **changes: str) -> set[tuple[str, str]]:
    """The functions that a click passes on an edge with these settings."""
    await publish(url)
    async with an_edge(url, path, changes=changes) as edge, edge.caller() as caller:
        for _ in range(3):  # until the link is in memory, and its answer is made
            await caller.send(WHOLE)
            assert 200 == (await caller.answer()).status

        with called() as found:
            await caller.send(WHOLE)
            assert 200 == (await caller.answer()).status
    return {each for each in found if not each[0].startswith(_BY_THE_CLOCK)}


async def test_a_click_passes_at_most_45_functions_in_at_most_15_modules(
    redis_url: str, tmp_path: Path
) -> None:
    functions = await passed(redis_url, tmp_path)

    modules = {module for module, _ in functions}
    assert 10 < len(functions) <= 45, sorted(functions)
    assert 5 < len(modules) <= 15, sorted(modules)


async def test_where_requests_are_traced_one_that_is_not_passes_one_more(
    redis_url: str, tmp_path: Path
) -> None:
    usual = await passed(redis_url, tmp_path / "usual")
    tracing = await passed(
        redis_url, tmp_path / "tracing", REFTIDE_TRACES_PER_SECOND="10"
    )

    assert set() == usual - tracing
    assert {("http/traces.py", "_TracedRoute.answer")} == tracing - usual
