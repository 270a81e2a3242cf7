"""Entries that the former release wrote: recorded, archived, replayed, edited, put back."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ingest.contracts.encoding.envelopes import decode, encode
from ingest.contracts.stream import EntryId, epoch_key
from tests.support.former import FORMER
from tests.support.workers.quarantine_desk import Desk
from tests.support.workers.replaying import Site, a_site
from tests.support.workers.working import STREAM
from workers.archive.writer import SegmentWriter
from workers.model.batch import Delivery, Entry


@pytest.fixture
async def site(
    redis_url: str, database_url: str, tmp_path: Path
) -> AsyncIterator[Site]:
    async with a_site(redis_url, database_url, tmp_path / "archive") as made:
        yield made


_LEDGER = (
    "select array[sum(recorded), sum(repeats), sum(quarantined)]::int[] from ledger"
)


async def test_every_event_of_it_is_recorded_or_known_to_be_unrecordable(
    site: Site,
) -> None:
    await site.add(*FORMER)
    await site.record()

    assert [9, 1, 2] == await site.value(_LEDGER)
    assert ["unknown_link", "unknown_click"] == await site.value(
        "select array_agg(reason::text order by entry_ms, entry_seq) from quarantine"
    )
    assert (await site.proven())["ok"]
    assert "Chrome" == await site.value(
        "select browser from events where kind = 'click' and not is_bot order by id limit 1"
    )
    assert 'Jürgen "J" O’Neill' == await site.value(  # noqa: RUF001 -- as it was sent
        "select name from customers where external_id = 'user_42'"
    )
    assert "36893488147419103232" == await site.value(
        "select properties ->> 'n' from events where properties ? 'utm_source'"
    )


async def test_sent_again_by_this_release_it_is_the_same_event(site: Site) -> None:
    await site.add(*FORMER)
    await site.record()
    before = await site.value("select count(*) from events")
    await site.add(*(encode(decode(raw)) for raw in FORMER))
    await site.record()

    assert [before, 1 + before + 1, 4] == await site.value(_LEDGER)
    assert before == await site.value("select count(*) from events")
    assert (await site.proven())["ok"]


async def test_it_is_archived_as_it_was_and_replayed(site: Site) -> None:
    assert site.archive is not None
    await site.add(*FORMER)
    await site.skip()
    epoch = int(await site.redis.get(epoch_key(0)))
    writer = SegmentWriter(site.archive, "w1", 0, epoch)
    writer.add(
        [
            Delivery(Entry.of(epoch, 0, *EntryId.of(raw)), fields[b"e"])
            for raw, fields in await site.redis.xrange(STREAM)
        ]
    )
    writer.finish()
    await site.redis.xtrim(STREAM, maxlen=0)

    done = await site.replay()

    assert {"scanned": 12, "inserted": 9, "unchanged": 1, "quarantined": 2} == done
    assert [9, 1, 2] == await site.value(_LEDGER)


def test_in_quarantine_it_is_edited_into_this_version_and_recorded(desk: Desk) -> None:
    unknown = next(raw for raw in FORMER if b"NOBODY" in raw)
    desk.refuse(unknown)

    told = desk.done("edit", "1", "--set", "code=L0")

    assert "L0" == told["envelope"]["code"]
    assert unknown.decode() == desk.shown(1)["history"][0]["payload"]
    desk.done("redrive", "1", "--no-wait")
    desk.redrive()
    assert (1, 0, 0) == desk.ledger()
    assert [] == desk.mistakes()
