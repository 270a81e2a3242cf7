"""Traced requests are answered as others are, and cost others nothing."""

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from ingest.contracts.stream import FIELD, events_key
from ingest.contracts.traces.context import context_of
from ingest.contracts.variables import Tracing
from ingest.http.traces import EdgeTraces
from tests.support.edge.showcase import publish
from tests.support.eventually import eventually
from tests.support.otlp import (
    SAMPLED,
    TRACE,
    UNSAMPLED,
    Collector,
    a_collector,
)
from tests.support.servers.raw_http import CLICK, PATH, WHOLE, Answer, an_edge, count

ROUTE = f"POST {PATH}"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (
    len(CLICK),
    CLICK,
)

_CLICK_ID = re.compile(rb"clk_[\w-]+")
#: An event's id, and its time.
_ITS_OWN = re.compile(rb'"i":"[0-9a-f]{32}",|"t":\d+,')


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    async with a_collector(monkeypatch) as found:
        yield found


def a_click(**headers: str) -> bytes:
    """A click with some more headers."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return WHOLE.replace(b"Host: x\r\n", b"Host: x\r\n" + lines.encode())


def a_chunked_click(**headers: str) -> bytes:
    """A click that aiohttp answers."""
    lines = a_click(**headers).split(b"\r\nContent-Length")[0]
    return lines + b"\r\n" + CHUNKED


async def appended(url: str) -> list[bytes]:
    """The entries, which are then taken out of the stream."""
    found: list[bytes] = []
    async with Redis.from_url(url) as redis:
        for shard in range(4):
            entries = await redis.xrange(events_key(shard))
            found += [fields[FIELD] for _, fields in entries]
            await redis.delete(events_key(shard))
    # In the order of their ids.
    return sorted(found, key=lambda entry: entry[8:])


async def came_to(
    url: str, path: Path, changes: Mapping[str, str], requests: Sequence[bytes]
) -> tuple[list[Answer], list[bytes]]:
    """The answers to some requests, and the entries; without their ids and times."""
    await publish(url)
    async with an_edge(url, path, changes=changes) as edge:
        answers = [await edge.says(request) for request in requests]
    for answer in answers:
        answer.headers.pop(b"date")
    told = [
        Answer(each.status, each.headers, _CLICK_ID.sub(b"clk", each.body))
        for each in answers
    ]
    return told, [_ITS_OWN.sub(b"", entry) for entry in await appended(url)]


async def test_without_a_sampled_context_nothing_is_different(
    collector: Collector, redis_url: str, tmp_path: Path
) -> None:
    requests = [
        make(**headers)
        for make in (a_click, a_chunked_click)
        for headers in ({}, {"traceparent": UNSAMPLED}, {"traceparent": "00-0-0-01"})
    ]

    without = await came_to(redis_url, tmp_path / "plain", {}, requests)
    traced = await came_to(redis_url, tmp_path, collector.variables, requests)

    assert without == traced
    assert len(requests) == len(traced[1])
    assert [] == collector.spans


async def test_a_traced_request_has_the_same_answer_and_a_context_in_its_entry(
    collector: Collector, redis_url: str, tmp_path: Path
) -> None:
    makers = (a_click, a_chunked_click)
    plain = [make() for make in makers]
    asking = [make(traceparent=SAMPLED) for make in makers]

    answers, entries = await came_to(redis_url, tmp_path / "plain", {}, plain)
    traced, carriers = await came_to(redis_url, tmp_path, collector.variables, asking)

    assert answers == traced
    contexts = [context_of(entry) for entry in carriers]
    appends = collector.named("append")
    assert {f"00-{TRACE}-{span.id}-01" for span in appends} == {*contexts}
    assert entries == [
        entry.replace(b'{"v":3', b'{"v":2').replace(b',"tp":"%b"' % said.encode(), b"")
        for entry, said in zip(carriers, contexts, strict=True)
        if said is not None
    ]
    assert [200, 200] == [
        span.attributes["http.response.status_code"] for span in collector.named(ROUTE)
    ]


async def test_a_refusal_is_in_the_trace(
    collector: Collector, redis_url: str, tmp_path: Path
) -> None:
    wrong = a_click(traceparent=SAMPLED).replace(b"SARAH", b"NOBOD")

    await came_to(redis_url, tmp_path, collector.variables, [wrong])

    request = await collector.one(ROUTE)
    assert (400, False) == (
        request.attributes["http.response.status_code"],
        request.failed,
    )
    assert [] == collector.named("append")


async def test_an_edge_draws_some_requests_itself(
    collector: Collector, redis_url: str, tmp_path: Path
) -> None:
    changes = {**collector.variables, "REFTIDE_TRACE_ONE_IN": "3"}

    _, entries = await came_to(redis_url, tmp_path, changes, [a_click()] * 7)

    assert 2 == len([entry for entry in entries if context_of(entry)])
    assert ["", ""] == [span.parent for span in collector.named(ROUTE)]


@pytest.mark.parametrize("coding", ["none", "gzip", "deflate"])
async def test_spans_are_compressed_as_the_variable_says(
    collector: Collector,
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    coding: str,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", coding)
    click = a_click(traceparent=SAMPLED)

    await came_to(redis_url, tmp_path, collector.variables, [click])

    assert (await collector.one("append")).parent == (await collector.one(ROUTE)).id
    assert {coding} == collector.codings


@pytest.mark.parametrize("make", [a_click, a_chunked_click])
async def test_what_goes_to_the_disk_keeps_its_context(
    collector: Collector, redis_url: str, tmp_path: Path, make: Callable[..., bytes]
) -> None:
    await publish(redis_url)
    async with (
        Redis.from_url(redis_url) as redis,
        an_edge(redis_url, tmp_path, changes=collector.variables) as edge,
    ):
        await edge.says(make())  # so that the link is in memory
        await appended(redis_url)
        usual = (await redis.config_get("maxmemory"))["maxmemory"]
        await redis.config_set("maxmemory", 1)
        try:
            answer = await edge.says(make(traceparent=SAMPLED))
            assert (200, 0) == (answer.status, await count(redis_url))
        finally:
            await redis.config_set("maxmemory", usual)

        async def is_drained() -> bool:
            return await count(redis_url) == 1

        await eventually(is_drained)
        [entry] = await appended(redis_url)

    append = await collector.one("append")
    assert f"00-{append.trace}-{append.id}-01" == context_of(entry)


async def test_a_collector_that_is_away_is_one_line_a_minute(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    asking = [a_click(traceparent=SAMPLED)] * 3
    settings = {"REFTIDE_TRACES_PER_SECOND": "10"}

    with capture_logs() as logs:
        answers, entries = await came_to(redis_url, tmp_path, settings, asking)

        async def is_said() -> bool:
            return any(line["event"] == "trace.unexported" for line in logs)

        await eventually(is_said)

    assert [200] * 3 == [answer.status for answer in answers]
    assert 3 == len(entries)
    [line] = [each for each in logs if each["event"] == "trace.unexported"]
    assert "Connection refused" in line["cause"]


@pytest.mark.usefixtures("collector")
def test_strangers_cause_so_many_traces_a_second_and_no_more() -> None:
    now = 0.0
    traces = EdgeTraces(Tracing(per_second=3, one_in=2), lambda: now)

    def begun(times: int, traceparent: str | None) -> int:
        wanted = [traceparent is not None or traces.draws() for _ in range(times)]
        found = [traces.begin(ROUTE, traceparent) for _ in range(sum(wanted))]
        return sum(each is not None for each in found)

    with capture_logs() as logs:
        assert 3 == begun(1000, SAMPLED)
        # What the edge draws itself has a bound of its own.
        assert 2 == begun(4, None)
        assert 1 == begun(1000, None)
        now = 1.0
        assert 3 == begun(10, SAMPLED)

    assert ["trace.limited"] == [line["event"] for line in logs]
