"""What events change of a partner's stats."""

from typing import Any

import pytest

from ingest.contracts.envelope import Dedupe, Envelope
from tests.integration.publish.conftest import World
from tests.support.directory import (
    FIRST_CLICK,
    LAST_CLICK,
    LINKS,
    NOON_MS,
    PARTNERS,
    WORKSPACE,
    a_click,
    a_lead,
)
from workers.postgres.sql import statements

_BOT = "Googlebot/2.1 (+http://www.google.com/bot.html)"


@pytest.fixture
async def counted(world: World) -> World:
    """The world, with stats in the program of the first two links."""
    await world.execute(
        "update programs set has_stats = true where id = $1", LAST_CLICK
    )
    await world.publish()
    return world


def a_visit(number: int, session: str, **changes: Any) -> Envelope:
    return a_click(number, session=session, **changes)


def a_conversion(number: int, session: str, **changes: Any) -> Envelope:
    link = changes.pop("link_id", LINKS[0])
    return a_lead(
        number,
        session=session,
        link_id=link,
        external_id=None,
        dedupe=Dedupe.of("convert", link.hex, session),
        **changes,
    )


async def test_sessions_are_pending_until_they_convert(counted: World) -> None:
    await counted.record(a_visit(1, "s1"), a_visit(2, "s2"), a_visit(3, "s1"))
    await counted.publish()
    assert (0, 2) == await counted.stats()

    await counted.record(a_conversion(4, "s1"), a_conversion(5, "s3"))
    await counted.publish()
    assert (2, 1) == await counted.stats()

    await counted.publish_anew()
    assert (2, 1) == await counted.stats()
    assert (0, 0) == await counted.stats(1)


async def test_a_conversion_counts_once_and_may_overtake_its_click(
    counted: World,
) -> None:
    await counted.record(a_conversion(4, "s1"))
    await counted.record(a_conversion(5, "s1"))
    await counted.record(a_visit(1, "s1"))
    await counted.publish()

    assert (1, 0) == await counted.stats()


async def test_bots_tests_and_clicks_without_a_session_are_not_pending(
    counted: World,
) -> None:
    await counted.record(
        a_visit(1, "s1", user_agent=_BOT),
        a_visit(2, "s2", is_test=True, program_id=LAST_CLICK),
        a_click(3),
    )
    await counted.publish()

    assert (0, 0) == await counted.stats()


async def test_another_link_converts_for_its_own_partner(counted: World) -> None:
    await counted.record(a_visit(1, "s1"), a_conversion(2, "s1", link_id=LINKS[1]))
    await counted.publish()

    assert (0, 1) == await counted.stats()
    assert (1, 0) == await counted.stats(1)


async def test_events_without_sessions_are_nothing_to_publish(counted: World) -> None:
    await counted.record(a_click(1), a_lead(2, external_id=None, link_id=LINKS[0]))

    assert 0 == await counted.publish()


async def test_a_program_without_stats_pays_nothing(counted: World) -> None:
    await counted.record(a_visit(1, "s1", link_id=LINKS[2]))

    assert 0 == await counted.publish()


async def test_stats_sum_all_programs_of_a_partner_that_have_them(
    counted: World,
) -> None:
    await counted.record(
        a_visit(1, "s1"), a_visit(2, "s2", link_id=LINKS[2]), a_conversion(3, "s3")
    )
    await counted.publish()
    assert (1, 1) == await counted.stats()

    await counted.execute(
        "update programs set has_stats = true where id = $1", FIRST_CLICK
    )
    await counted.publish()

    assert (1, 2) == await counted.stats()


async def test_a_session_is_one_on_each_link(counted: World) -> None:
    await counted.execute(
        "update links set partner_id = $1 where id = $2", PARTNERS[0], LINKS[1]
    )
    await counted.record(
        a_click(1, session="s1"),
        a_click(2, session="s1", link_id=LINKS[1]),
    )
    await counted.publish()
    before = await counted.stats()

    # It converts the code that it names.
    await counted.record(
        a_lead(3, external_id=None, session="s1", link_id=LINKS[1]),
    )
    await counted.publish()

    assert (0, 2) == before
    assert (1, 1) == await counted.stats()


async def test_stats_are_summed_up_from_an_index_alone(counted: World) -> None:
    moment = NOON_MS / 1000
    await counted.execute("select make_partition(to_timestamp($1))", moment)
    await counted.execute(
        "insert into events (id, at, digest, kind, is_test, is_bot, is_duplicate, quantity, epoch, shard,"
        " entry_seq, entry_ms, workspace_id, link_id, dialect, session)"
        " select (substr(uuid7_floor(to_timestamp($3))::text, 1, 24) || lpad(number::text, 12, '0'))::uuid,"
        " to_timestamp($3), 0, 'click', false, false, false, 1, 1, 0, number, 0, $1, $2, 'affitor', number"
        " from generate_series(1, 5000) as number",
        WORKSPACE,
        LINKS[0],
        moment,
    )
    await counted.execute("vacuum (analyze) events")

    sql = statements("publish/publisher")
    asked = (f"array['{WORKSPACE}']", f"array['prt{PARTNERS[0].int}']")
    find = sql["stats_find"].replace("$1", asked[0]).replace("$2", asked[1])
    async with counted.pool.acquire() as connection, connection.transaction():
        await connection.execute(sql["stats_begin"])
        plan = await connection.fetch(f"explain (costs off) {find}")
    lines = [row[0] for row in plan if "events_202503" in row[0]]

    assert lines
    assert all("Index Only Scan" in line for line in lines), lines
    await counted.execute(
        "insert into directory_changes (topic, ref) values ('stats', $1)",
        f"{WORKSPACE} prt{PARTNERS[0].int}",
    )
    await counted.publish()
    assert (0, 5000) == await counted.stats()
