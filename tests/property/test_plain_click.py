"""A plain click is sealed and answered as the ordinary path seals and answers it."""

import asyncio
from collections.abc import Hashable
from typing import Any
from uuid import UUID

import orjson
from hypothesis import given
from hypothesis import strategies as st

from ingest.contracts.directory import (
    LIMITS_KEY,
    SWITCHES_KEY,
    SwitchesRecord,
    link_key,
)
from ingest.core.plain_click import PlainClicks, SealedClick, plain_clicks
from ingest.core.values import Missing
from ingest.dialects.affitor import AFFITOR
from ingest.dialects.affitor.wire import ClickBody
from ingest.dialects.spec.requests import RawRequest
from tests.support.edge.accepting import Edge, a_link
from tests.support.edge.fakes import MemoryDirectory

_CLICK = AFFITOR.endpoints[0]
_URLS = (
    "https://example.com/?aff=ALICE",
    "https://example.com/a?b=c&aff=ALICE#d",
    "https://example.com/?aff=A%4CICE",
    "https://example.com/?aff=NOBODY",
    "https://other.example/?aff=ALICE",
    "HTTPS://EXAMPLE.COM/?aff=ALICE",
    "https://example.com/",
    "nowhere",
)
_TEXTS = st.text(max_size=40) | st.sampled_from(
    ["", "\0", "\ud800", "\x7f", "é", "\\", '"', "a/b"]
    + ["x" * size for size in (255, 256, 1024, 1025, 3000)]
)
_FIELDS = (
    "page_url",
    "page_title",
    "referrer_url",
    "session_id",
    "screen_resolution",
    "viewport_size",
    "language",
    "timezone",
    "user_agent",
    "existing_click_id",
    "of_nobody",
)
_BODIES = st.builds(
    lambda url, texts, extra: {"affiliate_url": url, **texts, **extra},
    st.sampled_from(_URLS),
    st.dictionaries(st.sampled_from(_FIELDS), _TEXTS, max_size=6),
    st.sampled_from(
        [
            {},
            {},
            {},
            {"additional_data": {"a": 1}},
            {"additional_data": {"test_mode": True, "program_id": 42}},
            {"additional_data": {"test_mode": "True", "program_id": 42}},
            {"session_id": 7},
            {"page_url": None},
        ]
    ),
)
_HEADERS = st.sampled_from(
    [
        {},
        {"user-agent": "Mozilla/5.0"},
        {"user-agent": "x" * 2000},
    ]
)
_ADDRESSES = st.sampled_from([None, "203.0.113.77", "2001:db8::1"])


class InMemory(MemoryDirectory):
    """A directory of which everything is in memory."""

    def recall(self, question: Hashable) -> Any:
        if question in {SWITCHES_KEY, LIMITS_KEY}:
            return self.records.get(question, Missing.UNKNOWN)
        *namespaces, code = question  # type: ignore[misc]  # of a link
        keys = (link_key(namespace, code) for namespace in namespaces)
        return next((self.records[key] for key in keys if key in self.records), None)


def an_edge() -> Edge:
    made = Edge(directory=InMemory())
    made.publish(a_link())
    return made


def plain(edge: Edge) -> PlainClicks:
    made = plain_clicks(edge.acceptor(), AFFITOR, _CLICK)
    assert made is not None
    return made


def take(clicks: PlainClicks, raw: RawRequest) -> SealedClick | None:
    return clicks.take(raw.body, raw.headers.get("user-agent"), raw.ip)


@given(_BODIES, _HEADERS, _ADDRESSES)
def test_a_plain_click_is_what_the_ordinary_path_makes_of_it(
    body: dict[str, object], headers: dict[str, str], ip: str | None
) -> None:
    text = orjson.dumps(body) if _is_json(body) else b'{"affiliate_url": "\\ud800"}'
    raw = RawRequest(headers=headers, body=text, ip=ip)
    fast, slow = an_edge(), an_edge()

    taken = take(plain(fast), raw)
    reply = asyncio.run(slow.acceptor().accept(AFFITOR, _CLICK, raw))

    if taken is not None:
        [(event_id, payload)] = slow.sink.entries
        assert (200, {}) == (reply.status, dict(reply.headers))
        assert event_id == UUID(bytes=taken.event_id)
        assert payload == taken.payload
        assert orjson.dumps(reply.body) == taken.body


def test_the_click_that_the_vendor_documents_is_plain() -> None:
    [shown] = ClickBody.model_config["json_schema_extra"]["examples"]  # type: ignore[index,call-overload]
    body = orjson.dumps({**shown, "affiliate_url": _URLS[0]})

    assert take(plain(an_edge()), RawRequest(body=body)) is not None


def test_a_click_is_not_plain_while_anything_is_switched_off() -> None:
    edge = an_edge()
    off = SwitchesRecord(off=frozenset({("dialect", "dub")}))
    edge.directory.records[SWITCHES_KEY] = off
    body = orjson.dumps({"affiliate_url": _URLS[0]})

    assert take(plain(edge), RawRequest(body=body)) is None


def test_a_click_on_an_inactive_link_is_not_plain() -> None:
    edge = an_edge()
    edge.publish(a_link(is_active=False))
    body = orjson.dumps({"affiliate_url": _URLS[0]})

    assert take(plain(edge), RawRequest(body=body)) is None


def _is_json(body: dict[str, object]) -> bool:
    try:
        orjson.dumps(body)
    except orjson.JSONEncodeError:
        return False
    return True
