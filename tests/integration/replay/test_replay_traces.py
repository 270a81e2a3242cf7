"""A replay or redrive of traced events is a trace of its own, with links to theirs."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.stream import FIELD, EntryId, epoch_key
from ingest.contracts.traces.context import with_context
from ingest.contracts.traces.export import SpanExport
from tests.support.directory import WORKSPACE, a_click
from tests.support.otlp import CALLER, SAMPLED, TRACE, Collector, Received, a_collector
from tests.support.workers.redriving import NEW_LINK, Clinic, lost_click
from tests.support.workers.replaying import Site, a_site
from tests.support.workers.working import STREAM
from workers.archive.writer import SegmentWriter
from workers.model.batch import Delivery, Entry
from workers.pipeline.pipeline import Pipeline
from workers.pipeline.spans import SpanTraces
from workers.redrive.page import Redriver
from workers.replay.job import ReplayJob
from workers.replay.sources import ReplaySources

TRACED = with_context(encode(a_click(1)), SAMPLED)


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    async with a_collector(monkeypatch) as found:
        yield found


@pytest.fixture
async def site(
    redis_url: str, database_url: str, tmp_path: Path
) -> AsyncIterator[Site]:
    async with a_site(redis_url, database_url, tmp_path / "archive") as made:
        yield made


@pytest.fixture
async def traces(collector: Collector) -> AsyncIterator[SpanTraces]:
    export = SpanExport("reftide-worker")
    yield SpanTraces(export.send)
    await asyncio.to_thread(export.close)


async def replay(site: Site, traces: SpanTraces) -> None:
    pipeline = site.pipeline()
    pipeline.traces = traces
    job = ReplayJob(pipeline, ReplaySources(site.redis, site.archive))
    await site.order("missing")
    while await site.value("select count(*) from replays where status <> 'done'"):
        await job.work()


def is_linked(span: Received) -> bool:
    """Whether a span is a new trace, with a link to the event's."""
    return (TRACE, CALLER) in span.links and span.trace != TRACE and span.parent == ""


async def test_a_replay_from_the_stream_is_a_new_trace_with_a_link(
    site: Site, collector: Collector, traces: SpanTraces
) -> None:
    await site.add(a_click(2), TRACED, a_click(3))
    await site.skip()

    await replay(site, traces)

    span, write = await collector.one("replay"), await collector.one("write")
    assert is_linked(span)
    assert (span.trace, span.id) == (write.trace, write.parent)
    assert 3 == await site.value("select count(*) from events")


async def test_a_replay_from_the_archive_is_a_new_trace_with_a_link(
    site: Site, collector: Collector, traces: SpanTraces
) -> None:
    await site.add(TRACED)
    await site.skip()
    epoch = int(await site.redis.get(epoch_key(0)))
    [(raw, fields)] = await site.redis.xrange(STREAM)
    assert site.archive is not None
    writer = SegmentWriter(site.archive, "w1", 0, epoch)
    writer.add([Delivery(Entry.of(epoch, 0, *EntryId.of(raw)), fields[FIELD])])
    writer.finish()
    await site.redis.xtrim(STREAM, maxlen=0, approximate=False)

    await replay(site, traces)

    assert is_linked(await collector.one("replay"))
    assert 1 == await site.value("select count(*) from events")


async def test_a_replay_without_traced_events_has_no_span(
    site: Site, collector: Collector, traces: SpanTraces
) -> None:
    await site.add(a_click(1))
    await site.skip()

    await replay(site, traces)

    assert 1 == await site.value("select count(*) from events")
    assert [] == collector.spans


async def test_a_redrive_is_a_new_trace_with_a_link(
    clinic: Clinic, collector: Collector, traces: SpanTraces
) -> None:
    pipeline: Pipeline = clinic.pipeline
    pipeline.traces = traces
    await clinic.take_in(with_context(encode(lost_click(1)), SAMPLED))
    await clinic.add_link(NEW_LINK, "NEW", WORKSPACE)
    await clinic.ask()

    clinic.redriver = Redriver(pipeline)
    assert 1 == await clinic.redrive()

    assert is_linked(await collector.one("batch"))
    assert is_linked(await collector.one("redrive"))
    assert 1 == await clinic.value("select count(*) from events")


async def test_a_transaction_that_fails_says_so_and_quotes_nothing(
    clinic: Clinic, collector: Collector, traces: SpanTraces
) -> None:
    clinic.pipeline.traces = traces
    await clinic.execute("alter table events add constraint none check (id is null)")

    await clinic.take_in(TRACED)

    assert ["unstorable"] == await clinic.reasons()
    assert not (await collector.one("batch")).failed
    first, *others = collector.named("write")
    assert (True, {"error.type": "DataFault"}) == (first.failed, first.attributes)
    assert [False] == [span.failed for span in others]
