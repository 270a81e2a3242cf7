"""A batch yields to other requests, whatever is in it.

Between two turns of the event loop it takes no longer than four of the hostile bodies that
a request may have (`test_hostile_bodies.py`): 20 ms, where they take 5 ms each.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from time import thread_time

import orjson
import pytest

from ingest.bulk.process import BatchSender, BulkProcessor
from ingest.bulk.reader import events_in
from ingest.core.authorize import Principal
from ingest.dialects import DIALECTS
from ingest.dialects.batch import BYTES
from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.requests import RawRequest
from ingest.http.driver import Turns
from scripts.bench.abuse.bodies import hostile_bodies
from tests.support.edge.accepting import Edge
from tests.support.edge.plain_clicks import (
    TURNS,
    collecting_as_rarely_as_edges,
    plain_seconds,
)
from tests.support.edge.showcase import LINK

_CLICK = {"affiliate_url": "https://example.com/?aff=SARAH"}
_LONGEST = 4.0


def _array(body: bytes) -> bytes:
    """As many events with this body as a batch has room for."""
    event = b'{"path":"/api/v1/track/click","body":%b}' % body
    many = min(1_000, (BYTES - 2) // (len(event) + 1))
    return b"[%b]" % b",".join([event] * many)


def _filled(before: bytes, unit: bytes, behind: bytes) -> bytes:
    room = BYTES - len(before) - len(behind)
    return before + unit * (room // len(unit)) + behind


def _short(host: str) -> bytes:
    return orjson.dumps({"affiliate_url": f"https://{host}/?aff=SARAH"})


_BATCHES = {
    "plain clicks": _array(orjson.dumps(_CLICK)),
    "hosts that normalising expands": _array(_short("\ufdfa" * 253)),
    "labels of the greatest length": _array(_short(".".join(["ü" * 58] * 4))),
    "no events but arrays": _filled(b"[", b"[],", b"0]"),
    "one event of arrays": _filled(b'[{"a":[', b"[],", b"0]}]"),
    "one event of names": _filled(b"[{", b'"":0,', b'"":0}]'),
    "a text of lone surrogates": _filled(b'["', rb"\ud800", b'"]'),
    "lines of lone surrogates": _filled(b"", b'{"a":"\\ud800"}\n', b"")[:1_500_000],
    "a thousand lines of lone surrogates": b"\n".join(
        [b'{"a":"%b"' % (rb"\ud800" * 300)] * 1_000
    ),
}


def _hostile() -> Iterator[tuple[str, bytes]]:
    """Batches of bodies that are hostile by themselves."""
    for what, body in hostile_bodies(_CLICK):
        if what.startswith(("additional_data: [", "additional_data: many")):
            yield what, _array(body)


async def _longest_turn(work: Callable[[], object]) -> float:
    """The longest time of the thread between two turns while something is done."""
    loop, longest, before = asyncio.get_running_loop(), 0.0, thread_time()
    is_over = False

    def turn() -> None:
        nonlocal longest, before
        now = thread_time()
        longest, before = max(longest, now - before), now
        if not is_over:
            loop.call_soon(turn)

    loop.call_soon(turn)
    made = work()
    if asyncio.iscoroutine(made):
        await made
    is_over = True
    await asyncio.sleep(0)
    return longest


async def _longest_of(batch: bytes) -> float:
    """The longest turn of taking a batch apart, and of taking its events."""
    began = thread_time()
    try:
        events: Sequence[bytes] = events_in(batch)
    except Refusal:
        events = ()
    apart = thread_time() - began
    edge = Edge()
    edge.publish(LINK)
    processor = BulkProcessor(edge.acceptor(), DIALECTS, Turns())
    sender = BatchSender(RawRequest(), Principal(workspace_id=LINK.workspace_uuid))
    return max(apart, await _longest_turn(lambda: processor.take(sender, events)))


@pytest.mark.parametrize(
    "batch",
    [pytest.param(raw, id=what) for what, raw in [*_BATCHES.items(), *_hostile()]],
)
async def test_a_batch_holds_the_loop_no_longer_than_four_requests(
    batch: bytes,
) -> None:
    assert len(batch) <= BYTES
    with collecting_as_rarely_as_edges():
        ratios = [await _longest_of(batch) / plain_seconds()]
        while ratios[-1] > _LONGEST and len(ratios) < TURNS:
            ratios.append(await _longest_of(batch) / plain_seconds())

    assert ratios[-1] <= _LONGEST
