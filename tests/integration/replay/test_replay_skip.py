"""What is recorded as it was read is skipped unread; what a replay counts stays the same."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import Kind
from tests.support.directory import (
    FOREIGN_LINK,
    LINKS,
    PARTNERS,
    WORKSPACE,
    a_click,
    a_lead,
    a_sale,
)
from tests.support.workers.replaying import EVERYTHING, Site, a_site
from workers.model.batch import Delivery, Entry
from workers.replay.leases import Mode, Part
from workers.replay.scope import Scope
from workers.replay.skip import Rest, without_recorded

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
    elsewhere = Delivery(Entry.of(1, 0, 7, 7), encode(clicks[1]))

    left = await without_recorded(site.pool, _part(), [*read, elsewhere])

    assert Rest([elsewhere], 2) == left


async def test_a_missing_click_of_another_link_is_left_out_too(site: Site) -> None:
    other = Delivery(Entry.of(1, 0, 7, 7), encode(a_click(1, link_id=LINKS[1])))

    assert Rest([]) == await without_recorded(site.pool, _part(**_LINK), [other])


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
