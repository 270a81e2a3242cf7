"""No body takes long to read: parsing is bounded, whatever is in it."""

from collections.abc import Iterator
from time import thread_time
from typing import Any

import pytest

from ingest.dialects.spec.requests import RawRequest
from ingest.dialects.spec.routes import Endpoint
from ingest.http.handlers import BODY_BYTES
from scripts.bench.abuse.bodies import hostile_bodies
from tests.support.edge.plain_clicks import (
    TURNS,
    collecting_as_rarely_as_edges,
    plain_seconds,
    read_and_seal,
)
from tests.support.edge.showcase import SHOWN, Shown

_ENDPOINTS = [
    pytest.param(each, id=each.name)
    for each in SHOWN
    if isinstance(each.route, Endpoint) and each.route.body
]


def _hostile_seconds(route: Any, raw: RawRequest) -> float:
    began = thread_time()
    read_and_seal(route, raw)
    return thread_time() - began


def _ratios(route: Any, raw: RawRequest) -> Iterator[float]:
    for _ in range(TURNS):
        yield _hostile_seconds(route, raw) / plain_seconds()


@pytest.mark.parametrize("shown", _ENDPOINTS)
def test_no_body_takes_as_long_as_twelve_hundred_plain_clicks(shown: Shown) -> None:
    slow: dict[str, float] = {}
    with collecting_as_rarely_as_edges():
        plain = min(plain_seconds() for _ in range(TURNS))
        for what, body in hostile_bodies(shown.body):
            assert len(body) <= BODY_BYTES
            raw = RawRequest(path=shown.path, body=body)
            if _hostile_seconds(shown.route, raw) > plain:
                # It may have been the machine: they take turns.
                ratio = min(_ratios(shown.route, raw))
                if ratio > 1:
                    slow[what] = ratio

    assert {} == slow
