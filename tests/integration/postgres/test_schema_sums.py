"""What an upgrade makes of the sums that an earlier version did not keep."""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple
from uuid import UUID

import asyncpg

from scripts.services.maintain.schema import schema_text
from scripts.services.observe.verify import COMPARISONS
from tests.integration.postgres.test_schema import FOLDER, connected
from tests.support.directory import an_id
from workers.counters.rule import TABLES

#: 2025-01-15, a month later, and another; at noon.
_MONTHS_MS = (1_736_942_400_000, 1_739_620_800_000, 1_742_040_000_000)
_GONE, _DETACHED, _ATTACHED = "events_202501", "events_202502", "events_202503"
_FLAGS = (False, True)


class _Event(NamedTuple):
    id: UUID
    at_ms: int
    kind: str
    is_test: bool
    is_bot: bool
    is_duplicate: bool
    quantity: int


def _events() -> list[_Event]:
    """In each month every sort of click, and leads."""
    sorts = product(_MONTHS_MS, ("click", "lead"), _FLAGS, _FLAGS, _FLAGS)
    return [
        _Event(
            an_id(number, at_ms),
            at_ms,
            kind,
            is_test,
            is_bot,
            is_duplicate,
            100 - number,
        )
        for number, (at_ms, kind, is_test, is_bot, is_duplicate) in enumerate(sorts)
        if kind == "click" or not is_duplicate
    ]


async def _fill(connection: asyncpg.Connection, events: Sequence[_Event]) -> None:
    """Record events on one link as 0.1.0 did, and count them."""
    await connection.execute(
        """
        insert into workspaces (id, name) values (uuid7_floor(now()), 'w');
        insert into programs (id, workspace_id, name) select id, id, 'p' from workspaces;
        insert into partners (id, workspace_id, public_id, code) select id, id, 'prt', 'jane' from workspaces;
        insert into links (id, workspace_id, public_id, namespace, code, program_id, partner_id)
        select id, id, 'lnk', '-', 'SPRING', id, id from workspaces;
        select make_partition(month::timestamptz) from unnest('{2025-01-01,2025-02-01,2025-03-01}'::date[]) as month;
        """
    )
    await connection.executemany(
        """
        insert into events (id, at, digest, kind, is_test, is_bot, is_duplicate, quantity,
                            epoch, shard, entry_seq, entry_ms, workspace_id, link_id, program_id, partner_id, dialect)
        select $1, to_timestamp($2::bigint / 1000.0), 0, $3, $4, $5, $6, $7::integer, 1, 0, $7::integer, 0, id, id, id, id, 'affitor'
          from workspaces""",
        events,
    )
    await connection.execute(
        """
        insert into program_partners (program_id, partner_id, clicks, bot_clicks, duplicate_clicks, leads)
        select program_id, partner_id, sum(clicks), sum(bot_clicks), sum(duplicate_clicks), sum(leads)
          from contributions group by 1, 2;
        insert into link_days (link_id, day, clicks, bot_clicks, duplicate_clicks, leads)
        select link_id, day, sum(clicks), sum(bot_clicks), sum(duplicate_clicks), sum(leads)
          from contributions group by 1, 2;
        update links set (clicks, bot_clicks, duplicate_clicks, leads) =
               (select sum(clicks), sum(bot_clicks), sum(duplicate_clicks), sum(leads) from contributions);
        """
    )


async def _detach(connection: asyncpg.Connection, name: str, month: str) -> None:
    await connection.execute(
        f"""
        insert into detached_partitions (name, since, until, is_folded)
        values ('{name}', '{month}-01 UTC', timestamptz '{month}-01 UTC' + interval '1 month', true);
        insert into counter_base (partition, link_id, program_id, partner_id, day, clicks, bot_clicks, duplicate_clicks, leads)
        select '{name}', link_id, program_id, partner_id, day, sum(clicks), sum(bot_clicks), sum(duplicate_clicks), sum(leads)
          from shares where id in (select id from {name}) group by 2, 3, 4, 5;
        alter table events detach partition {name};
        """  # noqa: S608 -- names of ours
    )


def _unique(events: Sequence[_Event], at_ms: int) -> int:
    return sum(
        event.quantity
        for event in events
        if event.at_ms == at_ms
        and event.kind == "click"
        and not (event.is_test or event.is_bot or event.is_duplicate)
    )


def _both(events: Sequence[_Event], at_ms: int) -> int:
    """The clicks that are a bot's and duplicates."""
    return sum(
        event.quantity
        for event in events
        if event.at_ms == at_ms
        and event.kind == "click"
        and not event.is_test
        and event.is_bot
        and event.is_duplicate
    )


async def test_unique_clicks_are_summed_up_from_rows_and_from_what_is_left_of_them(
    empty_database: str,
) -> None:
    events = _events()
    async with connected(empty_database) as connection:
        await connection.execute((FOLDER / "v2.sql").read_text("utf-8"))
        await _fill(connection, events)
        await _detach(connection, _GONE, "2025-01")
        await _detach(connection, _DETACHED, "2025-02")
        await connection.execute(f"drop table {_GONE}")

        for _ in range(2):
            await connection.execute(schema_text())

        days = await connection.fetch(
            "select unique_clicks from link_days order by day"
        )
        link = await connection.fetchval("select unique_clicks from links")
        partner = await connection.fetchval(
            "select unique_clicks from program_partners"
        )
        wrong = [
            dict(row)
            for table in TABLES
            for row in await connection.fetch(COMPARISONS[table.name])
        ]
    gone, detached, attached = _MONTHS_MS
    expected = [
        # Without its rows, clicks that were both are subtracted twice.
        max(0, _unique(events, gone) - _both(events, gone)),
        _unique(events, detached),
        _unique(events, attached),
    ]
    assert expected == [row["unique_clicks"] for row in days]
    assert (sum(expected), sum(expected)) == (link, partner)
    assert [] == wrong
