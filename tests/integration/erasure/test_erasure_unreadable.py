"""Erasure of what nobody can read: lines of an archive that hold no event of ours."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from ingest.contracts.encoding.envelopes import VERSION, encode
from ingest.contracts.envelope import PLAIN_VERSION
from ingest.contracts.stream import EntryId, epoch_key
from ingest.contracts.telemetry import Log
from tests.support.directory import a_click, an_id, furnish
from tests.support.workers.archives import everything, payloads
from tests.support.workers.erasures import (
    JANE,
    erase,
    finish,
    janes_click,
    janes_lead,
    left,
)
from tests.support.workers.replaying import Site
from tests.support.workers.working import STREAM
from workers.archive.reader import problem, segments
from workers.archive.writer import SegmentWriter
from workers.erasure import archives
from workers.erasure.archives import (
    ArchivePseudonymizer,
    RewrittenSegment,
    keep_pseudonymized,
    known_state,
    sweep,
)
from workers.model.batch import Delivery, Entry
from workers.postgres.database import open_pool
from workers.redis_io.connections import for_jobs

#: Six lines that name her and hold no event, of which three are JSON.
UNREADABLE = (
    encode(janes_lead(20))[:-9],
    encode(janes_lead(21)).replace(b'"k":"lead"', b'"k":"party"'),
    b"not JSON: Jane Doe <JANE@doe.example>",
    msgspec.msgpack.encode({"customer": JANE, "name": "Jane Doe"}),
    b'{"who":"\\u006aane-4711","town":"Janeville"}',
    b'["%s","about-jane"]' % an_id(1).hex.encode(),
)
OTHERS = (b"not JSON: joe", b'{"who":"jane-47"}', encode(a_click(30))[:-9])
NEWER = encode(janes_lead(22)).replace(
    b'{"v":%d' % PLAIN_VERSION, b'{"v":%d' % (VERSION + 1)
)


@pytest.fixture
async def site(
    redis_url: str, database_url: str, tmp_path: Path
) -> AsyncIterator[Site]:
    async with (
        for_jobs(redis_url) as redis,
        open_pool(database_url, size=4) as pool,
    ):
        async with pool.acquire() as connection:
            await furnish(connection)
        (tmp_path / "archive").mkdir()
        yield Site(redis, pool, redis_url, database_url, tmp_path / "archive")


async def archive(site: Site, *more: bytes) -> Path:
    """What the stream has is archived as it is, and more behind it."""
    assert site.archive is not None
    epoch = int(await site.redis.get(epoch_key(0)))
    found = [
        (EntryId.of(raw), fields[b"e"])
        for raw, fields in await site.redis.xrange(STREAM)
    ]
    last = found[-1][0]
    found += [(EntryId(last.ms, last.seq + 1 + at), one) for at, one in enumerate(more)]
    writer = SegmentWriter(site.archive, "w1", 0, epoch)
    writer.add(
        [Delivery(Entry.of(epoch, 0, *entry), payload) for entry, payload in found]
    )
    writer.finish()
    return site.archive


async def test_lines_that_hold_no_event_are_blanked_where_they_name_the_person(
    site: Site,
) -> None:
    await site.add(janes_click(1), janes_lead(4), *UNREADABLE, *OTHERS)
    await site.record()
    directory = await archive(site)
    (before,) = segments(directory)
    await erase(site)
    assert await left(site, directory)

    swept = await sweep(site.pool, directory, [])
    again = await sweep(site.pool, directory, [])

    assert (RewrittenSegment(1, 8, 6), RewrittenSegment()) == (swept, again)
    assert [] == await left(site, directory)
    kept = payloads(everything(directory))
    assert before.entries == len(kept)
    assert set(OTHERS) <= set(kept)
    (after,) = segments(directory)
    assert (None, before.accepted) == (problem(directory, after), after.accepted)
    assert "unchanged" in await site.replay()
    assert [] == await left(site, directory)


async def test_what_comes_unreadable_afterwards_is_archived_blank(site: Site) -> None:
    await site.add(janes_click(1), janes_lead(4))
    await site.record()
    await erase(site)
    deliveries = [
        Delivery(Entry.of(1, 0, 1, at), payload)
        for at, payload in enumerate((*UNREADABLE, *OTHERS))
    ]

    written, _ = await ArchivePseudonymizer(site.pool).pseudonymize(deliveries)

    assert not any(each.payload in UNREADABLE for each in written)
    assert list(OTHERS) == [each.payload for each in written[len(UNREADABLE) :]]
    # What the stream has of it goes too.
    await finish(site)
    assert 0 == await site.value("select count(*)::int from erasure_leftovers")


async def test_lines_of_a_later_release_wait_for_a_worker_that_reads_them(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.add(janes_click(1), janes_lead(4))
    await site.record()
    directory = await archive(site, NEWER)
    await erase(site)
    # One that no command has told where its lines go.
    monkeypatch.setattr(archives, "_LOG", Log())

    with capture_logs() as logs:
        assert RewrittenSegment(1, 2, 0, 1) == await sweep(site.pool, directory, [])
    told = [each["lines"] for each in logs if each["event"] == "archive.newer"]
    current = "select version::int from erasure_archives"

    assert ([1], 0) == (told, await site.value(current))
    assert NEWER in payloads(everything(directory))
    state = known_state(directory)
    # Nor does this release look again and again.
    with capture_logs() as logs:
        await keep_pseudonymized(site.pool, directory, [])
    assert [] == logs

    monkeypatch.setattr(archives, "VERSION", VERSION + 1)
    await keep_pseudonymized(site.pool, directory, [])

    assert state != known_state(directory)
    assert known_state(directory).endswith(f" {VERSION + 1}")
