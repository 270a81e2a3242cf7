"""A change is in the directory within a second, because workers look for it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from ingest.contracts.directory import (
    GENERATION_KEY,
    LIMITS_KEY,
    STATS_REST_KEY,
    SWITCHES_KEY,
    api_key_key,
    link_id_key,
    link_key,
    stats_key,
)
from ingest.contracts.placement.layout import Layout
from tests.support.eventually import eventually
from tests.support.publishing import HASH, World, a_world
from workers.jobs.arq_host import keep_arq
from workers.jobs.schedule import Jobs
from workers.stream.consumer import backoff


@pytest.fixture
async def world(database_url: str, redis_url: str) -> AsyncIterator[World]:
    async with a_world(database_url, redis_url) as made:
        yield made


@pytest.fixture
async def clockwork(world: World, redis_url: str) -> AsyncIterator[World]:
    """The world, with the jobs of a worker running beside it."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        jobs = Jobs(world.pool, world.redis, Layout.at_home(1))
        group.create_task(keep_arq(jobs, redis_url, stop, backoff))
        await eventually(lambda: exists(world, GENERATION_KEY, link_key("-", "SPRING")))
        yield world
        stop.set()


async def exists(world: World, *keys: str) -> bool:
    return len(keys) == await world.redis.exists(*keys)


async def is_partners(world: World, code: str) -> bool:
    link = await world.link_at(link_id_key(world.link))
    return link is not None and code == link.partner_code


async def is_off(world: World) -> bool:
    link = await world.link_at(link_key("-", "WINTER"))
    return link is not None and not link.is_active


async def is_gone(world: World, *keys: str) -> bool:
    return 0 == await world.redis.exists(*keys)


async def test_links_are_published_while_stats_rest(clockwork: World) -> None:
    rest = 60_000
    await clockwork.redis.set(STATS_REST_KEY, b"", px=rest)
    await clockwork.execute("update programs set has_stats = true")
    await clockwork.execute("update links set is_active = false")
    jane = stats_key(clockwork.workspace, "jane")

    async def only_stats_wait() -> bool:
        topics = "select array_agg(distinct topic) from directory_changes"
        return ["stats"] == await clockwork.pool.fetchval(topics)

    await eventually(lambda: is_off(clockwork))
    await eventually(only_stats_wait)
    assert not await exists(clockwork, jane)

    await clockwork.redis.delete(STATS_REST_KEY)
    await eventually(lambda: exists(clockwork, jane))


async def test_who_published_stats_for_long_rests(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = Jobs(world.pool, world.redis, Layout.at_home(1))
    await world.publish_if_missing()
    await world.execute("update programs set has_stats = true")
    await world.execute("delete from directory_changes where topic <> 'stats'")

    await jobs.publish_slow_changes()
    brief = await world.redis.exists(STATS_REST_KEY)
    monkeypatch.setattr("workers.jobs.schedule._BRIEF_REST_MS", 0)
    monkeypatch.setattr("workers.jobs.schedule._STATS_REST", 1_000_000)
    await jobs.publish_slow_changes()

    assert 0 == brief
    assert 0 < await world.redis.pttl(STATS_REST_KEY)


#: They are looked for every second; the rest is for a slow machine.
SOON = 2.0

ANOTHER_PARTNER = """
with made as (
    insert into partners (id, workspace_id, public_id, code)
    select gen_random_uuid(), workspace_id, 'pn_2', 'john' from partners
    returning id)
update links set partner_id = made.id from made
"""


@pytest.mark.parametrize(
    ("change", "is_known"),
    [
        (ANOTHER_PARTNER, lambda world: is_partners(world, "john")),
        (
            "update partners set code = 'janet'",
            lambda world: is_partners(world, "janet"),
        ),
        ("update links set is_active = false", is_off),
        (
            "delete from imported_clicks; delete from link_aliases; delete from links",
            lambda world: is_gone(
                world,
                link_key("-", "SPRING"),
                link_key("-", "WINTER"),
                link_id_key(world.link),
            ),
        ),
        (
            "update api_keys set revoked_at = now()",
            lambda world: is_gone(world, api_key_key(HASH)),
        ),
        ("delete from api_keys", lambda world: is_gone(world, api_key_key(HASH))),
        (
            "insert into switches values ('installation', '')",
            lambda world: exists(world, SWITCHES_KEY),
        ),
        (
            "insert into limits values ('dub.key', 5)",
            lambda world: exists(world, LIMITS_KEY),
        ),
    ],
    ids=[
        "new partner",
        "renamed",
        "disabled",
        "deleted",
        "revoked",
        "key deleted",
        "switched off",
        "limited",
    ],
)
async def test_a_change_is_in_the_directory_within_a_second(
    change: str,
    is_known: Callable[[World], Awaitable[bool]],
    clockwork: World,
) -> None:
    assert not await is_known(clockwork)

    await clockwork.execute(change)

    await eventually(lambda: is_known(clockwork), within=SOON)
