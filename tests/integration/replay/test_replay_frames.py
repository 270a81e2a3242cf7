"""Frames of the archive that a filtered replay leaves out, by their segments' contents."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import Envelope, Kind
from tests.support.directory import LINKS, PARTNERS, WORKSPACE, a_click, a_lead, a_sale
from tests.support.workers.replaying import EVERYTHING, Site, a_site
from workers.archive.contents import contents_path
from workers.archive.reader import segments
from workers.archive.segment import Segment
from workers.archive.writer import SegmentWriter
from workers.model.batch import Delivery, Entry

_CLICK = a_click(1)
#: Of the first link; of the second by its code; a lead of the first, a sale of its customer.
_EVENTS: tuple[Envelope, ...] = (
    _CLICK,
    a_click(2, link_id=None, namespaces=("-",), code="L1"),
    a_lead(101, external_id="ann", click_id=_CLICK.id, link_id=LINKS[0]),
    a_sale(103, external_id="ann"),
    a_click(4, link_id=LINKS[4], dialect="dub"),
)


@pytest.fixture
async def site(
    redis_url: str, database_url: str, tmp_path: Path
) -> AsyncIterator[Site]:
    async with a_site(redis_url, database_url, tmp_path / "archive") as made:
        yield made


async def _archived(site: Site) -> list[Segment]:
    """Everything is recorded from an archive, a segment each, and from no stream."""
    assert site.archive is not None
    epoch = await site.value(
        "insert into stream_epochs (shard, entries_added) values (0, $1) returning epoch",
        len(_EVENTS),
    )
    made: list[Segment] = []
    for number, envelope in enumerate(_EVENTS):
        writer = SegmentWriter(site.archive, "w1", 0, epoch)
        writer.add([Delivery(Entry.of(epoch, 0, 1000 + number, 0), encode(envelope))])
        made.append(writer.finish())
    done = await site.replay()
    assert len(_EVENTS) == done["inserted"]
    return made


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({"link_id": LINKS[0]}, (0, 2, 3)),
        ({"link_id": LINKS[1]}, (1,)),
        ({"partner_id": PARTNERS[0]}, (0, 2, 3)),
        ({"partner_id": PARTNERS[1]}, (1,)),
        ({"partner_id": PARTNERS[1], "link_id": LINKS[0]}, ()),
        ({"kind": Kind.SALE}, (3,)),
        ({"dialect": "dub"}, (4,)),
        ({"event_id": _CLICK.id}, (0,)),
        ({"workspace_id": WORKSPACE}, (0, 1, 2, 3, 4)),
    ],
)
async def test_files_without_what_is_asked_for_are_not_opened(
    site: Site, filters: Mapping[str, Any], wanted: tuple[int, ...]
) -> None:
    assert site.archive is not None
    for number, segment in enumerate(await _archived(site)):
        if number not in wanted:
            # Opened, it would count as damaged.
            segment.data(site.archive).unlink()

    done = await site.replay("reprocess", replace(EVERYTHING, **filters))

    count = len(wanted)
    assert done == ({"scanned": count, "unchanged": count} if count else {})
    read, damaged = await site.pool.fetchrow(
        "select (select sum(read)::int from replay_parts where replay_id = replays.id), damaged::int"
        " from replays order by id desc limit 1"
    )
    # What was left out counts as progress.
    assert (len(_EVENTS), 0) == (read, damaged)


async def test_what_is_missing_is_found_by_what_it_says(site: Site) -> None:
    await _archived(site)
    async with site.pool.acquire() as connection:
        await connection.execute("delete from events where kind <> 'sale'")

    done = await site.replay(request=replace(EVERYTHING, partner_id=PARTNERS[1]))
    again = await site.replay(request=replace(EVERYTHING, link_id=LINKS[0]))

    assert {"scanned": 1, "inserted": 1} == done
    # The sale is recorded for the link, which nothing that it says tells.
    assert {"scanned": 3, "inserted": 2, "unchanged": 1} == again


@pytest.mark.parametrize("fate", ["missing", "cut", "of another"])
async def test_without_contents_every_frame_is_read(site: Site, fate: str) -> None:
    assert site.archive is not None
    made = await _archived(site)
    other = contents_path(site.archive, made[-1].key).read_bytes()
    for segment in made[:-1]:
        path = contents_path(site.archive, segment.key)
        match fate:
            case "missing":
                path.unlink()
            case "cut":
                path.write_bytes(path.read_bytes()[:-1])
            case "of another":
                path.write_bytes(other)
    made[2].data(site.archive).unlink()

    await site.replay(request=replace(EVERYTHING, link_id=LINKS[4]))

    assert 1 == await site.value(
        "select damaged::int from replays order by id desc limit 1"
    )


async def test_a_link_that_got_a_code_since_the_replay_was_ordered_is_found_by_it(
    site: Site,
) -> None:
    await _archived(site)
    async with site.pool.acquire() as connection:
        await connection.execute("delete from events where kind = 'click'")
        await connection.execute(
            "update links set code = 'gone' where id = $1", LINKS[1]
        )
        await connection.execute(
            "insert into link_aliases (namespace, code, link_id) values ('-', 'L1', $1)",
            LINKS[4],
        )

    done = await site.replay(
        request=replace(EVERYTHING, link_id=LINKS[4], codes=("L4",))
    )

    assert {"scanned": 2, "inserted": 2} == done


async def test_the_writer_gives_contents_to_every_segment(site: Site) -> None:
    assert site.archive is not None
    await _archived(site)

    found = list(segments(site.archive))

    assert len(_EVENTS) == len(found)
    assert all(contents_path(site.archive, each.key).exists() for each in found)
