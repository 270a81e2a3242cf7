"""Replays of what streams no longer have: trimmed, taken out, or gone with their server."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from redis.asyncio import Redis

from ingest.contracts.stream import EntryId, epoch_key
from tests.support.directory import NOON_MS, a_click
from tests.support.workers.replaying import EVERYTHING, Site, a_site
from tests.support.workers.working import STREAM
from workers.archive.writer import SegmentWriter
from workers.model.batch import Delivery, Entry
from workers.replay.sources import Cursor, ReplaySources
from workers.stream.epochs import sample


@pytest.fixture
async def site(
    redis_url: str, database_url: str, tmp_path: Path
) -> AsyncIterator[Site]:
    async with a_site(redis_url, database_url, tmp_path / "archive") as made:
        yield made


_NEW_LIFE = "insert into stream_epochs (shard) values (0) returning epoch"


async def _archive(site: Site) -> None:
    """What the stream has is archived, in two segments that share some entries."""
    assert site.archive is not None
    epoch = int(await site.redis.get(epoch_key(0)))
    page = [_delivery(epoch, raw, fields) for raw, fields in await _all(site.redis)]
    for part in (page[: len(page) * 2 // 3], page[len(page) // 3 :]):
        writer = SegmentWriter(site.archive, "w1", 0, epoch)
        writer.add(part)
        writer.finish()


async def _all(redis: Redis) -> list[tuple[bytes, dict[bytes, bytes]]]:
    found: list[tuple[bytes, dict[bytes, bytes]]] = await redis.xrange(STREAM)
    return found


def _delivery(epoch: int, raw: bytes, fields: dict[bytes, bytes]) -> Delivery:
    return Delivery(Entry.of(epoch, 0, *EntryId.of(raw)), fields[b"e"])


async def _clicks(site: Site, numbers: range) -> None:
    await site.add(*(a_click(number) for number in numbers))


async def _lost(site: Site) -> int:
    return int(await site.value("select coalesce(sum(lost), 0)::int from ledger"))


async def test_what_others_trimmed_unread_comes_back_from_the_archive(
    site: Site,
) -> None:
    await _clicks(site, range(10))
    await site.record()
    await _clicks(site, range(10, 30))
    await _archive(site)
    await site.redis.xtrim(STREAM, maxlen=12, approximate=False)
    await site.record()
    await site.count_losses()
    lost = await _lost(site)

    first = await site.replay()
    second = await site.replay()
    await site.count_losses()

    assert 8 == lost
    # What both segments have is met twice, and is settled the second time.
    assert 8 == first["inserted"]
    assert {"scanned", "unchanged"} == second.keys()
    assert 0 == await _lost(site)
    report = await site.proven()
    assert (True, True, 0) == (report["ok"], report["settled"], report["balance"])
    assert 30 == await site.value("select clicks from links where public_id = 'L0'")


async def test_what_was_deleted_from_the_middle_comes_back_too(site: Site) -> None:
    await _clicks(site, range(9))
    await site.redis.set(epoch_key(0), await site.value(_NEW_LIFE))
    await _archive(site)
    ids = [raw for raw, _ in await _all(site.redis)]
    await site.redis.xdel(STREAM, *ids[3:5])
    await site.record()

    done = await site.replay()
    await site.count_losses()

    assert 2 == done["inserted"]
    assert (True, 0) == ((report := await site.proven())["ok"], report["balance"])
    assert 9 == await site.value("select count(*) from events")


async def test_what_went_with_its_server_comes_back_in_its_own_life(site: Site) -> None:
    await _clicks(site, range(5))
    await site.record()
    await _clicks(site, range(5, 12))
    async with site.pool.acquire() as connection, connection.transaction():
        await sample(connection, site.redis, [0])
    # These the books never heard of.
    await _clicks(site, range(12, 15))
    await _archive(site)
    await site.redis.flushdb()
    await _clicks(site, range(20, 22))
    await site.record()
    await site.count_losses()
    lost = await _lost(site)

    first = await site.replay()
    second = await site.replay("reprocess")
    await site.count_losses()

    assert 7 == lost
    assert 10 == first["inserted"]
    assert {"scanned", "unchanged"} == second.keys()
    assert 0 == await _lost(site)
    assert [15, 2] == await site.value(
        "select array_agg(n::int order by epoch) from"
        " (select epoch, sum(recorded) as n from ledger group by 1) as life"
    )
    report = await site.proven()
    assert (True, True, 0) == (report["ok"], report["settled"], report["balance"])


async def test_stream_and_archive_are_read_as_one(site: Site) -> None:
    await _clicks(site, range(20))
    await site.record()
    await _archive(site)
    await site.redis.xtrim(STREAM, maxlen=20, approximate=False)

    untrimmed = await site.replay()
    await site.redis.xtrim(STREAM, maxlen=14, approximate=False)
    trimmed = await site.replay()

    # The six that are only in the archive are in its first segment alone.
    assert {"scanned": 20, "unchanged": 20} == untrimmed == trimmed


async def test_an_archive_without_a_stream_is_enough(site: Site) -> None:
    await _clicks(site, range(6))
    await site.record()
    await _archive(site)
    await site.redis.flushdb()
    async with site.pool.acquire() as connection:
        await connection.execute(
            "truncate events, visits, customers, ledger, link_days"
        )
        await connection.execute("update links set clicks = 0, unique_clicks = 0")

    done = await site.replay()

    assert 6 == done["inserted"]
    assert 6 == await site.value("select clicks from links where public_id = 'L0'")


async def test_a_frame_is_taken_in_pages_and_left_in_the_middle(site: Site) -> None:
    await _clicks(site, range(250))
    await site.record()
    await _archive(site)
    await site.redis.flushdb()
    async with site.pool.acquire() as connection:
        await connection.execute(
            "truncate events, visits, customers, ledger, link_days"
        )
        await connection.execute("update links set clicks = 0, unique_clicks = 0")

    pages, cursor = list[int](), await _begun(site)
    while cursor is not None:
        # As another worker would go on, from what the table has.
        sources = ReplaySources(site.redis, site.archive)
        span = (0, EVERYTHING.to_ms)
        page = await sources.page(0, Cursor.decode(cursor.encode()), span)
        pages.append(page.read)
        cursor = page.next
    usual = replace(EVERYTHING, rate=2000)
    done = await site.replay(request=usual)

    # Nothing of a stream; 166 of one segment, 167 of the other, which share 83.
    assert [0, 100, 100, 100, 33] == pages[:5]
    assert {"scanned": 333, "inserted": 250, "unchanged": 83} == done
    assert 250 == await site.value("select clicks from links where public_id = 'L0'")


async def _begun(site: Site) -> Cursor | None:
    return (await ReplaySources(site.redis, site.archive).begin(0, (0, 1 << 62)))[0]


async def test_what_is_expected_includes_what_the_archive_will_be_asked_for(
    site: Site,
) -> None:
    await _clicks(site, range(9))
    await site.record()
    await _archive(site)
    first = EntryId.of((await _all(site.redis))[0][0]).ms
    sources = ReplaySources(site.redis, site.archive)

    # Before the stream begins there may be more, in two segments that share entries.
    assert 9 + 12 == (await sources.begin(0, (0, 1 << 62)))[1]
    assert 9 + 0 == (await sources.begin(0, (0, NOON_MS - 1)))[1]
    assert 9 == (await sources.begin(0, (first + 1_000_000_000, 1 << 62)))[1]
    assert 9 == (await ReplaySources(site.redis, None).begin(0, (0, 1 << 62)))[1]
