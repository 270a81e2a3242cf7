"""Entries of several events: each is settled by itself, and the entry when all of them are."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import orjson
import pytest

from ingest.contracts.encoding.envelopes import VERSION, encode
from ingest.contracts.stream import (
    EDGES_KEY,
    ENTRY_EVENTS,
    GROUP,
    EntryId,
    edge_key,
    epoch_key,
    events_key,
    joined,
)
from tests.support.directory import a_click, a_lead
from tests.support.eventually import eventually
from tests.support.workers.consuming import (
    Recorder,
    acknowledged,
    add,
    consuming,
    left_pending_by,
    pending,
)
from tests.support.workers.redriving import lost_click
from tests.support.workers.replaying import Site, a_site
from workers.archive.writer import SegmentWriter
from workers.model.batch import Delivery, Entry, deliveries_of
from workers.postgres.database import transaction
from workers.stream.epochs import sample

STREAM = events_key(0)


@pytest.fixture
async def site(
    redis_url: str, database_url: str, tmp_path: Path
) -> AsyncIterator[Site]:
    async with a_site(redis_url, database_url, tmp_path / "archive") as made:
        yield made


async def ledger(site: Site) -> list[int]:
    """Recorded, repeats, quarantined, lost, and those that are not first of their entry."""
    return list(
        await site.value(
            "select array[sum(recorded), sum(repeats), sum(quarantined), sum(lost),"
            " sum(beyond_first)]::int[] from ledger"
        )
    )


async def deliveries(site: Site) -> list[Delivery]:
    """What the stream has."""
    epoch = int(await site.redis.get(epoch_key(0)))
    return [
        delivery
        for raw, fields in await site.redis.xrange(STREAM)
        for delivery in deliveries_of(
            Entry.of(epoch, 0, *EntryId.of(raw)), fields[b"e"]
        )
    ]


async def test_every_event_of_an_entry_is_recorded_at_its_place(site: Site) -> None:
    await site.add_together(*(a_click(number) for number in range(5)))
    await site.add(a_click(5))
    await site.add_together(*(a_click(number) for number in range(6, 8)))
    await site.record()

    assert [8, 0, 0, 0, 5] == await ledger(site)
    assert [0, 1, 2, 3, 4, 0, 0, 1] == await site.value(
        "select array_agg(entry_index order by id) from events"
    )
    assert 3 == await site.value(
        "select count(distinct (entry_ms, entry_seq)) from events"
    )
    report = await site.proven()
    assert (True, True, 0, 8) == (
        report["ok"],
        report["settled"],
        report["balance"],
        report["compared"]["entries"],
    )


async def test_an_entry_that_is_delivered_again_counts_nothing(site: Site) -> None:
    lead = a_lead(9, dedupe=None)
    await site.add_together(a_click(1), a_click(2), a_click(1), lost_click(3), lead)
    await site.record()
    before = await site.digest()
    await site.redis.xgroup_setid(STREAM, GROUP, "0")
    await site.record()

    assert [3, 1, 1, 0, 4] == await ledger(site)
    # But for how often the entry in quarantine was seen.
    after = await site.digest()
    assert 1 == sum(one != other for one, other in zip(before, after, strict=True))
    assert (await site.proven())["ok"]


async def test_one_bad_event_of_an_entry_is_quarantined_alone(site: Site) -> None:
    await site.add_together(a_click(1), b'{"v":2,"k":"click"}', a_click(2))
    await site.record()

    assert [2, 0, 1, 0, 2] == await ledger(site)
    assert [1] == await site.value("select array_agg(entry_index) from quarantine")
    assert (await site.proven())["ok"]


async def test_an_entry_waits_for_the_release_that_knows_all_of_its_events(
    site: Site,
) -> None:
    await site.add_together(a_click(1), b'{"v":%d}' % (VERSION + 1), a_click(2))
    await site.skip()
    await site.redis.xgroup_setid(STREAM, GROUP, "0")
    read = await deliveries(site)

    for _ in range(2):
        assert [read[0], read[2]] == list(await site.pipeline().process(read))

    assert [2, 0, 0, 0, 1] == await ledger(site)


@pytest.mark.parametrize("settled", range(4))
async def test_a_worker_may_die_behind_any_event_of_an_entry(
    site: Site, settled: int
) -> None:
    await site.add_together(*(a_click(number) for number in range(4)))
    await site.skip()
    await site.redis.xgroup_setid(STREAM, GROUP, "0")
    # What a process committed that died before it acknowledged.
    await site.pipeline().process((await deliveries(site))[:settled])
    await site.record()

    assert [4, 0, 0, 0, 3] == await ledger(site)
    assert (await site.proven())["ok"]


async def test_entries_of_several_events_are_replayed_from_the_stream(
    site: Site,
) -> None:
    for first in range(0, 300, 60):
        await site.add_together(*(a_click(first + number) for number in range(60)))
    await site.skip()

    done = await site.replay()

    assert {"scanned": 300, "inserted": 300} == done
    assert [300, 0, 0, 0, 295] == await ledger(site)
    assert {"scanned": 300, "unchanged": 300} == await site.replay("reprocess")
    assert (await site.proven())["ok"]


async def test_entries_of_several_events_are_archived_and_replayed(site: Site) -> None:
    assert site.archive is not None
    await site.add_together(a_click(1), a_click(2), lost_click(3))
    await site.add(a_click(4))
    await site.skip()
    found = await deliveries(site)
    epoch = found[0].entry.epoch
    for part in (found[:2], found[1:]):
        writer = SegmentWriter(site.archive, "w1", 0, epoch)
        writer.add(part)
        writer.finish()
    await site.redis.xtrim(STREAM, maxlen=0)

    done = await site.replay()

    assert {"scanned": 5, "inserted": 3, "quarantined": 1, "unchanged": 1} == done
    assert [3, 0, 1, 0, 2] == await ledger(site)


async def test_the_events_of_lost_entries_are_known_from_what_edges_appended(
    site: Site,
) -> None:
    await site.add_together(*(a_click(number) for number in range(3)))
    await site.record()
    epoch = int(await site.redis.get(epoch_key(0)))
    await site.add_together(*(a_click(number) for number in range(3, 10)))
    await site.add(a_click(10))
    await say_appended(site, epoch, entries=3, events=11)
    unread = await site.proven()
    await site.redis.xtrim(STREAM, maxlen=0)
    await site.count_losses()

    assert (8, 0) == (unread["in_flight"], unread["balance"])
    assert [3, 0, 0, 8, 2] == await ledger(site)
    found = (await site.proven())["mismatches"]
    assert [("lost", 8)] == [(one["what"], one["found"]) for one in found]


async def test_an_edge_that_told_too_little_unbalances_nothing(site: Site) -> None:
    await site.add_together(*(a_click(number) for number in range(3)))
    await site.record()
    epoch = int(await site.redis.get(epoch_key(0)))
    await say_appended(site, epoch, entries=0, events=0)

    assert (await site.proven())["ok"]


async def test_an_event_that_nobody_accounted_for_is_a_mistake(site: Site) -> None:
    await site.add_together(*(a_click(number) for number in range(3)))
    await site.record()
    epoch = int(await site.redis.get(epoch_key(0)))
    await say_appended(site, epoch, entries=1, events=4)

    report = await site.proven()

    assert (False, 1) == (report["ok"], report["balance"])


async def say_appended(site: Site, epoch: int, *, entries: int, events: int) -> None:
    """As an edge does once a second, and a worker's job once a minute."""
    told = {
        "since": 1,
        "appended": {str(epoch): entries},
        "events": {str(epoch): events},
    }
    await site.redis.set(edge_key("e"), orjson.dumps(told))
    await site.redis.zadd(EDGES_KEY, {"e": 1})
    async with transaction(site.pool) as connection:
        await sample(connection, site.redis, [0])


# Reading ---------------------------------------------------------------------------------


def entry(*payloads: bytes) -> bytes:
    return joined([b'{"p":"%s"}' % payload for payload in payloads])


def names(batch: Sequence[Delivery]) -> str:
    return "".join(orjson.loads(each.payload)["p"] for each in batch)


async def test_an_entry_is_acknowledged_when_each_of_its_events_is_settled(
    site: Site, redis_url: str
) -> None:
    waits = {"c"}

    def answer(batch: Sequence[Delivery]) -> list[Delivery]:
        return [each for each in batch if names([each]) not in waits]

    await add(site.redis, entry(b"a", b"b"), entry(b"c", b"d"), entry(b"e"))
    recorder = Recorder(answer)
    async with consuming(
        redis_url, recorder, batch_size=1, reclaim_after=0.05, reclaim_every=0.05
    ):
        await eventually(lambda: _pending_one(site))
        assert {1} == {len(batch) for batch in recorder.batches}
        waits.clear()
        await eventually(acknowledged(site.redis))

    assert "abcde" == "".join(sorted({*names(recorder.settled)}))


async def _pending_one(site: Site) -> bool:
    """Whether the entry that waits is the only one that is not acknowledged."""
    groups = await site.redis.xinfo_groups(STREAM)
    is_read = bool(groups) and groups[0]["entries-read"] == 3
    return is_read and 1 == len(await pending(site.redis))


async def test_the_events_of_a_suspect_entry_are_processed_one_by_one(
    site: Site, redis_url: str
) -> None:
    await left_pending_by(site.redis, "one", entry(b"a", b"b", b"c"))
    for _ in range(3):
        await site.redis.xreadgroup(GROUP, "one", {STREAM: "0"})
    recorder = Recorder()
    async with consuming(redis_url, recorder):
        await eventually(acknowledged(site.redis))

    assert ["a", "b", "c"] == [names(batch) for batch in recorder.batches]


def test_an_entry_has_room_for_as_many_events_as_are_allowed() -> None:
    assert ENTRY_EVENTS == len(
        deliveries_of(
            Entry(1, 0, 1, 0),
            joined([encode(a_click(number)) for number in range(ENTRY_EVENTS)]),
        )
    )
