"""What is recorded as it was read is skipped unread; what a replay counts stays the same."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from ingest.contracts import ids
from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import Kind
from tests.support.directory import (
    FOREIGN_LINK,
    LINKS,
    NOON_MS,
    PARTNERS,
    WORKSPACE,
    a_click,
    a_lead,
    a_sale,
)
from tests.support.workers.replaying import EVERYTHING, Site, a_site
from workers.model.batch import Delivery, Entry
from workers.replay.frame_filter import FrameFilters
from workers.replay.leases import Mode, Part
from workers.replay.scope import Scope
from workers.replay.skip import Rest, without_recorded
from workers.replay.sources import ReplaySources

_LINK = {"link_id": LINKS[0], "codes": ("L0", 'Ä"0')}


@pytest.fixture
async def site(redis_url: str, database_url: str) -> AsyncIterator[Site]:
    async with a_site(redis_url, database_url) as made:
        yield made


async def _happened(site: Site) -> None:
    """Events that name their link by its id, by its code, by a click, a customer or not."""
    click = a_click(1)
    await site.add(
        click,
        a_click(2, link_id=LINKS[1]),
        a_click(3, link_id=None, namespaces=("-",), code="L0"),
        a_click(3, link_id=None, namespaces=("-",), code="L0"),
        a_lead(101, external_id="ann", click_id=click.id, link_id=LINKS[0]),
        a_lead(102, link_id=FOREIGN_LINK),
        a_sale(103, external_id="ann"),
        b"\x00 no envelope",
    )
    await site.record()


@pytest.mark.parametrize("mode", ["missing", "reprocess"])
@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({}, 8),
        (_LINK, 5),
        ({"link_id": LINKS[1], "codes": ("L1",)}, 1),
        ({"partner_id": PARTNERS[0]}, 5),
        ({"partner_id": PARTNERS[1]}, 1),
        ({"partner_id": PARTNERS[1], "link_id": LINKS[0]}, 0),
        ({"kind": Kind.LEAD}, 2),
        ({"dialect": "affitor"}, 4),
        ({"dialect": "dub"}, 0),
        ({"workspace_id": WORKSPACE}, 7),
        ({"workspace_id": UUID(int=99)}, 0),
        ({"event_id": a_click(2).id}, 1),
        ({"from_ms": EVERYTHING.to_ms - 1}, 0),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
async def test_a_replay_counts_what_it_was_asked_for(
    site: Site, mode: Mode, filters: Mapping[str, Any], count: int
) -> None:
    await _happened(site)

    done = await site.replay(mode, replace(EVERYTHING, **filters))

    assert done == ({"scanned": count, "unchanged": count} if count else {})


async def test_a_replay_by_link_records_what_is_missing_of_it(site: Site) -> None:
    await _happened(site)
    async with site.pool.acquire() as connection:
        await connection.execute("delete from events where kind in ('click', 'sale')")

    done = await site.replay(request=replace(EVERYTHING, **_LINK))

    # A click on the link by its id, and one by its code; nothing says whose the sale is.
    assert 2 == done["inserted"]
    assert 0 == await site.value(
        "select count(*) from events where link_id = $1", LINKS[1]
    )


async def test_events_that_are_recorded_as_they_were_read_are_left_out(
    site: Site,
) -> None:
    await _happened(site)
    rows = await site.pool.fetch("select * from events where kind = 'click'")
    clicks = {1: a_click(1), 2: a_click(2, link_id=LINKS[1])}
    read = [
        Delivery(_entry_of(rows, click.id), encode(click)) for click in clicks.values()
    ]
    entry = read[0].entry
    # Each differs in one of the numbers that tell where an event was read.
    elsewhere = [
        Delivery(entry._replace(**{name: getattr(entry, name) + 1}), read[0].payload)
        for name in Entry._fields
    ]

    left = await without_recorded(site.pool, _part(), [*elsewhere, *read])

    assert Rest(elsewhere, 2) == left


async def test_of_another_time_events_are_neither_left_nor_counted(site: Site) -> None:
    first, second = a_click(1), a_click(2, at=NOON_MS + 1)
    await site.add(first, second)
    await site.record()
    rows = await site.pool.fetch("select * from events")
    read = [
        Delivery(_entry_of(rows, each.id), encode(each)) for each in (first, second)
    ]
    at = ids.millis(second.id)

    found = [
        await without_recorded(site.pool, _part(from_ms=since, to_ms=until), read)
        for since, until in ((at, at + 1), (0, at), (at + 1, 1 << 60), (0, 1 << 60))
    ]

    assert [Rest([], count) for count in (1, 1, 0, 2)] == found


async def test_of_a_stream_events_that_cannot_be_asked_for_are_left_out(
    site: Site,
) -> None:
    await _happened(site)
    sources = ReplaySources(site.redis, None)
    wanted = FrameFilters(site.pool, None).of(_part(**_LINK))
    span = (EVERYTHING.from_ms, EVERYTHING.to_ms)
    begun = await sources.begin(0, span)

    whole = await sources.page(0, begun.cursor, span)
    some = await sources.page(0, begun.cursor, span, wanted=wanted)

    other = encode(a_click(2, link_id=LINKS[1]))
    assert [each for each in whole.deliveries if each.payload != other] == (
        some.deliveries
    )
    assert whole.read == some.read == len(some.deliveries) + 1


def _entry_of(rows: list[Any], event_id: UUID) -> Entry:
    [row] = [row for row in rows if row["id"] == event_id]
    names = ("epoch", "shard", "entry_ms", "entry_seq", "entry_index")
    return Entry(*[row[name] for name in names])


def _part(**filters: Any) -> Part:
    return Part(
        replay_id=UUID(int=1),
        shard=0,
        holder=UUID(int=2),
        mode="missing",
        request=replace(EVERYTHING, **filters),
        scope=Scope(link_id=filters.get("link_id")),
        cursor=None,
    )
