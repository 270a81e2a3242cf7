"""Replays and archives bring nobody back who was erased."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import Envelope
from tests.support.directory import NOON_MS
from tests.support.envelopes import changed
from tests.support.workers.erasures import (
    HISTORY,
    archive,
    balanced,
    counted,
    erase,
    finish,
    is_swept,
    janes_click,
    janes_lead,
    left,
)
from tests.support.workers.replaying import Site, a_site
from workers.archive.reader import segments
from workers.archive.writer import SegmentWriter
from workers.erasure.archives import RewrittenSegment, keep_pseudonymized, sweep
from workers.model.batch import Delivery, Entry


@pytest.fixture
async def site(
    redis_url: str, database_url: str, tmp_path: Path
) -> AsyncIterator[Site]:
    async with a_site(redis_url, database_url, tmp_path / "archive") as made:
        yield made


@pytest.mark.parametrize("mode", ["missing", "reprocess"])
async def test_no_replay_brings_a_person_back(site: Site, mode: Any) -> None:
    await site.add(*HISTORY)
    await site.record()
    await archive(site)
    await erase(site)
    before = await counted(site)
    # An archive that nobody has rewritten yet, and rows that a backup lacks.
    await site.pool.execute("delete from erasure_archives")

    done = await site.replay(mode)
    await finish(site)

    assert 9 == done["scanned"]
    assert [] == await left(site)
    assert before == await counted(site)
    assert await balanced(site)


async def test_rows_that_were_lost_come_back_under_the_pseudonym(site: Site) -> None:
    await site.add(*HISTORY)
    await site.record()
    await archive(site)
    await erase(site)
    before = await counted(site)
    # With all that says so, as after a restored backup of a day without Jane.
    await site.pool.execute(
        "truncate events, visits, claims, repeats, event_aliases, quarantine, ledger, link_days,"
        " link_amounts, program_partner_amounts; delete from customers where erased_at is null;"
        " update links set unique_clicks = 0, clicks = 0, leads = 0, sales = 0;"
        " update program_partners set unique_clicks = 0, clicks = 0, leads = 0, sales = 0"
    )

    await site.replay()
    await finish(site)

    assert [] == await left(site)
    after = await counted(site)
    # But for the latest click entry of a link, which nobody could put back.
    assert before[1:6] == after[1:6]


async def test_an_archive_is_rewritten_with_every_line_in_its_place(
    site: Site, tmp_path: Path
) -> None:
    assert site.archive is not None
    await site.add(*HISTORY)
    await site.record()
    await archive(site)
    (before,) = segments(site.archive)
    await erase(site)
    assert await left(site, site.archive)

    swept = await sweep(site.pool, site.archive, [])
    again = await sweep(site.pool, site.archive, [])

    assert (RewrittenSegment(1, 7), RewrittenSegment(0, 0)) == (swept, again)
    assert [] == await left(site, site.archive)
    (after,) = segments(site.archive)
    same = ("key", "first", "last", "entries", "kinds", "accepted")
    assert [getattr(before, name) for name in same] == [
        getattr(after, name) for name in same
    ]
    assert [before.data(site.archive)] != [after.data(site.archive)]
    assert not before.data(site.archive).exists()
    assert 9 == (await site.replay())["unchanged"]


async def test_an_archive_that_comes_back_is_rewritten(site: Site) -> None:
    assert site.archive is not None
    await site.add(*HISTORY)
    await site.record()
    await erase(site)
    await sweep(site.pool, site.archive, [])
    assert await is_swept(site.pool, site.archive)

    # From a backup: without the file that says what it knows.
    (site.archive / "erased").unlink()
    writer = SegmentWriter(site.archive, "w1", 0, 1)
    writer.add([Delivery(Entry.of(1, 0, NOON_MS, 1), encode(janes_lead(4)))])
    writer.finish()
    await keep_pseudonymized(site.pool, site.archive, [])

    assert [] == await left(site, site.archive)


def of_machine(envelope: Envelope) -> Envelope:
    return changed(envelope, user_agent="Googlebot/2.1 Netscape")


async def test_what_a_machine_clicked_stays_a_machines(site: Site) -> None:
    await site.add(of_machine(janes_click(1)), janes_lead(2))
    await site.record()
    await archive(site)
    await erase(site)
    assert site.archive is not None
    await sweep(site.pool, site.archive, [])

    await site.replay("reprocess")

    assert 1 == await site.value(
        "select bot_clicks::int from links where public_id = 'L0'"
    )
    assert await balanced(site)
