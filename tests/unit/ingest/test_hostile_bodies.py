"""No body takes long to read: parsing is bounded, whatever is in it.

What a hostile body takes is compared with what plain clicks take in the same run, in
turns, by the processor time of the thread. So it does not matter how busy the machine is.
"""

import gc
from collections.abc import Iterator
from time import thread_time
from typing import Any

import orjson
import pytest

from ingest.contracts.variables import StoreIp
from ingest.core.seal import client_of, details_of
from ingest.dialects.affitor import AFFITOR
from ingest.dialects.spec import Endpoint, RawRequest, Refusal
from ingest.http.handlers import BODY_BYTES
from tests.support.edge.hostile import hostile_bodies
from tests.support.edge.showcase import SHOWN, Shown

#: A plain click is read and sealed in 4 to 6 µs, and 5 ms is what a request may take.
_PLAIN_CLICKS = 1200
_TURNS = 5

_ENDPOINTS = [
    pytest.param(each, id=each.name)
    for each in SHOWN
    if isinstance(each.route, Endpoint) and each.route.body
]
_PLAIN = RawRequest(
    body=orjson.dumps({"affiliate_url": "https://example.com/pricing?aff=SARAH"})
)
_STORE_IP: StoreIp = "truncated"


@pytest.fixture(autouse=True)
def _as_rarely_as_edges() -> Iterator[None]:
    """Garbage is looked for as rarely as an edge does."""
    before = gc.get_threshold()
    gc.set_threshold(50_000, 20, 20)
    yield
    gc.set_threshold(*before)


def _read(route: Any, raw: RawRequest) -> None:
    """Read a request, and seal what came of it."""
    try:
        drafts = route.parse(raw)
    except Refusal:
        return
    for draft in drafts:
        details_of(draft)
        client_of(draft, raw, None, _STORE_IP)


def _plain_seconds() -> float:
    route, began = AFFITOR.endpoints[0], thread_time()
    for _ in range(_PLAIN_CLICKS):
        _read(route, _PLAIN)
    return thread_time() - began


def _hostile_seconds(route: Any, raw: RawRequest) -> float:
    began = thread_time()
    _read(route, raw)
    return thread_time() - began


def _turns(route: Any, raw: RawRequest) -> Iterator[float]:
    for _ in range(_TURNS):
        yield _hostile_seconds(route, raw) / _plain_seconds()


@pytest.mark.parametrize("shown", _ENDPOINTS)
def test_no_body_takes_as_long_as_twelve_hundred_plain_clicks(shown: Shown) -> None:
    plain = min(_plain_seconds() for _ in range(_TURNS))
    slow: dict[str, float] = {}
    for what, body in hostile_bodies(shown.body):
        assert len(body) <= BODY_BYTES
        raw = RawRequest(path=shown.path, body=body)
        if _hostile_seconds(shown.route, raw) > plain:
            # It may have been the machine: they take turns.
            ratio = min(_turns(shown.route, raw))
            if ratio > 1:
                slow[what] = ratio

    assert {} == slow
