"""Batches without Redis, with a bug, on a slow line, and where nothing has a place."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from ingest.dialects import DIALECTS
from ingest.dialects.spec.events import Draft, Outcome
from ingest.dialects.spec.requests import RawRequest, Reply
from tests.support.edge.batching import CLICK, RECORDING, Edge, event, said
from tests.support.edge.showcase import an_edge

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def alone(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    """An edge without Redis, which has no directory either."""
    path = tmp_path_factory.mktemp("edge")
    url = f"unix://{path}/nobody.sock"
    async with an_edge(url, path) as client:
        yield Edge(client, url)


async def test_without_redis_events_are_taken_and_claims_asked_for_again(
    alone: Edge,
) -> None:
    taken, claiming = await alone.results(CLICK, {**CLICK, "ip": "203.0.113.7"})

    assert "accepted" == taken["result"]
    # Nobody could check whether the key may forward.
    assert ("refused", "overloaded", True) == (
        claiming["result"],
        claiming["code"],
        claiming["retryable"],
    )


async def test_a_bug_costs_nothing_but_its_event(url: str, tmp_path: Path) -> None:
    def burst(_: RawRequest) -> Sequence[Draft]:
        raise ZeroDivisionError

    def burst_late(_: Outcome) -> Reply:
        raise ZeroDivisionError

    dialects = []
    for dialect in DIALECTS:
        routes = [*dialect.endpoints]
        if dialect.name == "dub":
            routes[0] = replace(routes[0], parse=burst)
        if dialect.name == "affixo":
            routes[0] = replace(routes[0], answer=burst_late)
        dialects.append(replace(dialect, endpoints=routes))
    named = {each.url: each for each in RECORDING}
    faulty = [event(named[path]) for path in ("/track/click", "/v1/track/click")]
    with capture_logs() as logs:
        async with an_edge(url, tmp_path, dialects) as client:
            results = await Edge(client, url).results(CLICK, *faulty, CLICK)

    assert [None, "failed", "failed", None] == [each.get("code") for each in results]
    assert [500, 500] == [each["status"] for each in results[1:3]]
    assert 2 == len([line for line in logs if line["event"] == "edge.failed"])


async def test_a_body_that_drips_is_given_up(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.bulk.handler._BODY_SECONDS", 0.05)

    async def dripping() -> AsyncIterator[bytes]:
        yield b"["
        await asyncio.sleep(1)
        yield b"]"

    headers = {"Authorization": "Bearer own"}
    answer = await edge.client.post("/v1/events", data=dripping(), headers=headers)

    assert (400, "body_malformed") == await said(answer)
    assert "cut short" in await answer.text()


async def test_where_nothing_has_a_place_all_of_it_may_come_back(
    tmp_path: Path,
) -> None:
    changes = {"REFTIDE_SPOOL_BYTES": "0"}
    url = f"unix://{tmp_path}/nobody.sock"
    async with an_edge(url, tmp_path, changes=changes) as client:
        edge = Edge(client, url)
        answer = await edge.send([CLICK, {"path": "/api/v1/referral/click/SARAH"}])
        results = (await answer.json())["results"]
        mixed = await edge.results(CLICK, 7)

    assert (503, "1") == (answer.status, answer.headers["Retry-After"])
    assert {("refused", "overloaded", True)} == {
        (each["result"], each["code"], each["retryable"]) for each in results
    }
    assert ["overloaded", "field_invalid"] == [each["code"] for each in mixed]
