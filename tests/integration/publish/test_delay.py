"""A change is in the directory within a second, because workers look for it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from ingest.contracts.directory import (
    GENERATION_KEY,
    LIMITS_KEY,
    SWITCHES_KEY,
    api_key_key,
    link_id_key,
    link_key,
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
