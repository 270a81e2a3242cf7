"""What browsers ask: not to be recognised, or to load a page that nobody sees yet."""

import pytest
from msgspec.structs import replace

from ingest.contracts.envelope import Purpose
from ingest.contracts.metrics.edge import REGISTRY
from tests.support.edge.accepting import Edge, a_click, an_edge, told
from tests.support.metrics import shown

GPC = {"sec-gpc": "1", "user-agent": "Firefox"}


def _refused_by_gpc() -> float:
    name = "reftide_edge_refused_total"
    return shown(REGISTRY, name, dialect="tiny", code="gpc")


@pytest.fixture
def edge() -> Edge:
    return an_edge()


async def test_who_sends_gpc_is_counted_and_not_recognised(edge: Edge) -> None:
    edge.headers = GPC
    reply = await edge.take(a_click(fingerprint="f", page_url="https://x.example/"))

    client = edge.sealed.client
    assert (None, None) == (client.ip, client.visitor)
    assert ("Firefox", "https://x.example/") == (client.user_agent, client.page_url)
    assert edge.sealed.request.is_anonymous
    assert edge.sealed.id.hex == told(reply, "id")
    assert {} == edge.claims.marks


async def test_visitors_with_gpc_are_not_told_one_anothers_short_click(
    edge: Edge,
) -> None:
    edge.headers, edge.has_short_clicks = GPC, True

    first, second = [await edge.take(a_click()) for _ in range(2)]

    assert told(first, "click") != told(second, "click")
    assert not edge.sink.envelopes[1].click.is_duplicate


async def test_two_visitors_with_gpc_do_not_cancel_each_other(edge: Edge) -> None:
    edge.headers = {**GPC, "idempotency-key": "1"}
    await edge.take(a_click())
    edge.ip = "198.51.100.9"
    await edge.take(a_click())

    one, other = edge.sink.envelopes
    assert one.id != other.id


@pytest.mark.parametrize("sent", ["0", "", "true"])
async def test_only_gpc_of_1_is_one(edge: Edge, sent: str) -> None:
    edge.headers = {"sec-gpc": sent}
    await edge.take(a_click())

    assert edge.sealed.client.visitor is not None


async def test_where_gpc_is_ignored_it_changes_nothing(edge: Edge) -> None:
    edge.gpc, edge.headers = "count", GPC
    await edge.take(a_click())

    assert edge.sealed.client.visitor is not None
    assert "203.0.113.0" == edge.sealed.client.ip


async def test_where_gpc_is_refused_nothing_is_kept_and_the_answer_is_the_same(
    edge: Edge,
) -> None:
    edge.gpc, edge.headers = "refuse", {**GPC, "idempotency-key": "k" * 30}
    before = _refused_by_gpc()

    reply = await edge.take(a_click())

    assert 200 == reply.status
    assert told(reply, "click")
    assert before + 1 == _refused_by_gpc()
    assert [] == edge.sink.envelopes
    assert {} == edge.claims.marks


@pytest.mark.parametrize(
    ("sent", "purpose"),
    [
        ("prefetch", "prefetch"),
        ("prefetch;prerender", "prerender"),
        ("prefetch;anonymous-client-ip", "prefetch"),
        ("preview", None),
        ("", None),
    ],
)
async def test_a_page_that_nobody_sees_yet_is_told_apart(
    edge: Edge, sent: str, purpose: Purpose | None
) -> None:
    edge.headers = {"sec-purpose": sent}
    await edge.take(a_click())

    assert purpose == edge.sealed.click.purpose
    assert (purpose is None) == (edge.sealed.client.visitor is not None)


async def test_a_server_that_relays_visitors_asks_nothing_for_itself(
    edge: Edge,
) -> None:
    edge.headers = {**GPC, "sec-purpose": "prefetch"}
    edge.bearer()
    asked = a_click(user_agent="Safari")
    await edge.take(asked)

    assert replace(edge.sealed.click, purpose=None) == edge.sealed.click
    assert "Safari" == edge.sealed.client.user_agent
