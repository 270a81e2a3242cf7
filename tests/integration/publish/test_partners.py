"""What else is published: partners' links and stats, switches and limits."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from uuid_utils.compat import uuid7

from ingest.contracts.directory import (
    LIMITS_KEY,
    SWITCHES_KEY,
    LimitsRecord,
    ProgramRecord,
    StatsRecord,
    SwitchesRecord,
    partner_link_key,
    program_id_key,
    stats_key,
)
from tests.support.publishing import CREATED_MS, World, a_world


@pytest.fixture
async def world(database_url: str, redis_url: str) -> AsyncIterator[World]:
    async with a_world(database_url, redis_url) as made:
        yield made


async def partners_link(world: World, code: str) -> str | None:
    found = await world.link_at(partner_link_key(world.program, code))
    return found.code if found else None


async def stats_of(world: World, code: str) -> StatsRecord | None:
    raw = await world.redis.get(stats_key(world.workspace, code))
    return StatsRecord.decode(raw) if raw else None


async def both_ways(world: World, expected: object, read: Callable[[], Any]) -> None:
    """What is read after a change, and after everything was published anew."""
    await world.publish()
    assert expected == await read()
    await world.redis.flushdb()
    assert await world.publish_if_missing()
    assert expected == await read()


async def add_link(world: World, code: str, created_ms: int) -> None:
    await world.execute(
        "insert into links (id, workspace_id, public_id, namespace, code, program_id,"
        " partner_id, created_at)"
        " values ($1, $2, $3, '-', $3, $4, $5, to_timestamp($6::bigint / 1000.0))",
        uuid7(),
        world.workspace,
        code,
        world.program,
        world.partner,
        created_ms,
    )


@pytest.mark.parametrize(
    ("created_ms", "expected"),
    [(CREATED_MS - 1, "OTHER"), (CREATED_MS + 1, "SPRING")],
    ids=["older", "younger"],
)
async def test_a_partner_is_known_by_the_oldest_of_its_links(
    created_ms: int, expected: str, world: World
) -> None:
    await world.publish()

    await add_link(world, "OTHER", created_ms)

    await both_ways(world, expected, lambda: partners_link(world, "jane"))


async def test_a_link_that_proves_older_becomes_its_partners(world: World) -> None:
    await add_link(world, "OTHER", CREATED_MS + 1)
    await world.publish()

    await world.execute("update links set created_at = now() where code = 'SPRING'")

    await both_ways(world, "OTHER", lambda: partners_link(world, "jane"))


@pytest.mark.parametrize(
    "change",
    [
        "update links set program_id = null",
        "update links set partner_id = null",
        "update partners set code = 'janet'",
        "delete from imported_clicks; delete from link_aliases; delete from links",
    ],
)
async def test_a_partner_without_a_link_in_a_program_is_not_found_there(
    change: str, world: World
) -> None:
    await world.publish()

    await world.execute(change)

    await both_ways(world, None, lambda: partners_link(world, "jane"))


async def test_a_renamed_partners_link_is_found_under_the_new_code(
    world: World,
) -> None:
    await world.publish()

    await world.execute("update partners set code = 'janet'")

    await both_ways(world, "SPRING", lambda: partners_link(world, "janet"))


async def test_links_know_that_their_program_takes_leads_from_servers_only(
    world: World,
) -> None:
    await world.publish()

    await world.execute("update programs set needs_server_lead = true")
    await world.publish()

    found = await world.link_at(partner_link_key(world.program, "jane"))
    assert found is not None
    assert found.needs_server_lead
    program = ProgramRecord.decode(await world.redis.get(program_id_key(world.program)))
    assert program.needs_server_lead


async def test_partners_have_stats_while_a_program_of_theirs_has(world: World) -> None:
    await world.publish()
    nothing_yet = StatsRecord(
        partner_code="jane", conversions=0, pending=0, code="SPRING"
    )
    assert await stats_of(world, "jane") is None

    await world.execute("update programs set has_stats = true")
    await both_ways(world, nothing_yet, lambda: stats_of(world, "jane"))

    await world.execute("update programs set has_stats = false")
    await both_ways(world, None, lambda: stats_of(world, "jane"))


async def test_stats_follow_a_partner_that_is_renamed(world: World) -> None:
    await world.execute("update programs set has_stats = true")
    await world.publish()

    await world.execute("update partners set code = 'janet'")
    await world.publish()

    assert await stats_of(world, "jane") is None
    found = await stats_of(world, "janet")
    assert found is not None
    assert "janet" == found.partner_code


async def test_stats_name_the_code_of_the_oldest_link(world: World) -> None:
    await world.execute("update programs set has_stats = true")
    await world.publish()

    await add_link(world, "OLDER", CREATED_MS - 1)
    await world.publish()

    found = await stats_of(world, "jane")
    assert found is not None
    assert "OLDER" == found.code


async def test_what_is_off_is_one_document_and_gone_with_the_last_switch(
    world: World,
) -> None:
    async def off() -> Any:
        raw = await world.redis.get(SWITCHES_KEY)
        return SwitchesRecord.decode(raw).off if raw else None

    await world.execute("insert into switches values ('dialect', 'dub')")
    await world.execute("insert into switches values ('link', 'lk_1', 'fraud')")
    await both_ways(world, {("dialect", "dub"), ("link", "lk_1")}, off)

    await world.execute("delete from switches where scope = 'dialect'")
    await both_ways(world, {("link", "lk_1")}, off)

    await world.execute("delete from switches")
    await both_ways(world, None, off)


async def test_limits_are_one_document_and_gone_with_the_last(world: World) -> None:
    async def limits() -> dict[str, int] | None:
        raw = await world.redis.get(LIMITS_KEY)
        return dict(LimitsRecord.decode(raw).per_minute) if raw else None

    await world.execute("insert into limits values ('dub.key', 5), ('affixo.key', 7)")
    await both_ways(world, {"affixo.key": 7, "dub.key": 5}, limits)

    await world.execute("update limits set per_minute = 9 where subject = 'dub.key'")
    await both_ways(world, {"affixo.key": 7, "dub.key": 9}, limits)

    await world.execute("delete from limits")
    await both_ways(world, None, limits)


async def test_a_switch_does_not_wait_behind_other_changes(world: World) -> None:
    await world.add_links(700)
    await world.execute("insert into switches values ('installation', '')")

    assert 500 == await world.publish()

    assert await world.redis.exists(SWITCHES_KEY)
