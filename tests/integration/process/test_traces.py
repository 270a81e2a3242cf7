"""Traces from a request to the rows: what a collector gets of edges and workers."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.otlp import CALLER, SAMPLED, TRACE, Collector, Received, a_collector
from tests.support.servers.installation import Installation, an_installation

CLICK = "/api/v1/track/click"
BODY = {"affiliate_url": "https://yoursite.com/pricing?aff=PARTNER123"}


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    async with a_collector(monkeypatch) as found:
        yield found


@pytest.fixture
async def site(
    collector: Collector, redis_url: str, database_url: str, tmp_path: Path
) -> AsyncIterator[Installation]:
    changes = {**collector.variables, "REFTIDE_WORKER_NAME": "w1"}
    async with an_installation(
        redis_url, database_url, tmp_path, **changes
    ) as installed:
        yield installed


async def click(site: Installation, traceparent: str | None = SAMPLED) -> None:
    headers = {} if traceparent is None else {"traceparent": traceparent}
    answer = await site.edges[0].post(CLICK, json=BODY, headers=headers)
    assert 200 == answer.status


def is_within(inner: Received, outer: Received) -> bool:
    return (inner.trace, inner.parent) == (outer.trace, outer.id)


async def test_one_picture_has_request_append_batch_and_write(
    site: Installation, collector: Collector
) -> None:
    await click(site)
    site.start_worker()
    await site.rests()

    request = await collector.one(f"POST {CLICK}")
    append = await collector.one("append")
    batch = await collector.one("batch")
    write = await collector.one("write")
    assert (TRACE, CALLER) == (request.trace, request.parent)
    assert 200 == request.attributes["http.response.status_code"]
    assert is_within(append, request)
    assert [(append.trace, append.id)] == batch.links
    assert batch.trace != TRACE
    assert is_within(write, batch)
    assert "reftide-edge" == request.service == append.service
    assert "reftide-worker" == batch.service == write.service
    assert not any(span.failed for span in collector.spans)
    [event] = await site.appended()
    assert [str(event.id)] == append.attributes["reftide.event_ids"]


async def test_a_killed_worker_leaves_the_context_to_the_next(
    site: Installation, collector: Collector
) -> None:
    await click(site)
    site.variables["REFTIDE_CRASH_AT"] = "committed"
    site.start_worker()

    async def is_dead() -> bool:
        return site.workers[0].poll() is not None

    await eventually(is_dead)
    assert [] == collector.named("batch")
    del site.variables["REFTIDE_CRASH_AT"]
    site.start_worker()
    await site.rests()

    append, batch = await collector.one("append"), await collector.one("batch")
    assert [(append.trace, append.id)] == batch.links


@pytest.mark.hasty
async def test_a_spooled_event_keeps_its_context(
    site: Installation, collector: Collector
) -> None:
    await click(site, None)  # so that the link is in memory
    usual = (await site.redis.config_get("maxmemory"))["maxmemory"]
    await site.redis.config_set("maxmemory", 1)
    try:
        await click(site)
        assert 1 == len(await site.appended())
    finally:
        await site.redis.config_set("maxmemory", usual)
    site.start_worker()
    await site.rests()

    append, batch = await collector.one("append"), await collector.one("batch")
    assert [(append.trace, append.id)] == batch.links


async def test_each_event_of_a_batch_has_the_context_of_its_append(
    site: Installation, collector: Collector
) -> None:
    events = [{"path": CLICK, "body": BODY} for _ in range(3)]
    headers = {"traceparent": SAMPLED, "Authorization": "Bearer bq_live_your_key"}
    answer = await site.edges[0].post("/v1/events", json=events, headers=headers)
    assert 200 == answer.status

    request = await collector.one("POST /v1/events")
    appends = collector.named("append")
    assert all(is_within(append, request) for append in appends)
    assert {str(event.id): event.traceparent for event in await site.appended()} == {
        str(event_id): f"00-{append.trace}-{append.id}-01"
        for append in appends
        for event_id in append.attributes["reftide.event_ids"]
    }
