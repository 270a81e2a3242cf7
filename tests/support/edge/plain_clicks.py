"""Compares processor time with that of plain clicks, in turns.

It is the time of the thread, of the best of some turns. So it does not matter how busy the
machine is.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from time import thread_time
from typing import Any

import orjson

from ingest.contracts.variables import StoreIp
from ingest.core.seal import client_of, details_of
from ingest.dialects.affitor import AFFITOR
from ingest.dialects.spec.refusal import Refusal
from ingest.dialects.spec.requests import RawRequest

#: A plain click is read and sealed in 4 to 6 µs: these take some 6 ms.
PLAIN_CLICKS = 1200
TURNS = 5

_PLAIN = RawRequest(
    body=orjson.dumps({"affiliate_url": "https://example.com/pricing?aff=SARAH"})
)
_STORE_IP: StoreIp = "truncated"


def read_and_seal(route: Any, raw: RawRequest) -> None:
    """Read a request, and seal what came of it."""
    try:
        drafts = route.parse(raw)
    except Refusal:
        return
    for draft in drafts:
        details_of(draft)
        client_of(draft, raw, None, _STORE_IP)


def plain_seconds() -> float:
    """The processor time of many plain clicks."""
    route, began = AFFITOR.endpoints[0], thread_time()
    for _ in range(PLAIN_CLICKS):
        read_and_seal(route, _PLAIN)
    return thread_time() - began


@contextmanager
def collecting_as_rarely_as_edges() -> Iterator[None]:
    """Garbage is looked for as rarely as an edge does."""
    before = gc.get_threshold()
    gc.set_threshold(50_000, 20, 20)
    yield
    gc.set_threshold(*before)
