"""The publisher: from rows in Postgres to the records that edges read."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from redis.asyncio import Redis
from typing_extensions import override
from uuid_utils.compat import uuid7

from ingest.contracts.directory import (
    CHANGES_FIELD,
    CHANGES_KEY,
    EVERYTHING,
    GENERATION_KEY,
    LIMITS_KEY,
    SWITCHES_KEY,
    ClickRecord,
    KeyRecord,
    LimitsRecord,
    LinkRecord,
    ProgramRecord,
    StatsRecord,
    SwitchesRecord,
    api_key_key,
    click_key,
    domain_key,
    link_id_key,
    link_key,
    partner_link_key,
    program_id_key,
    program_key,
    stats_key,
)
from tests.eventually import eventually
from workers.arq_host import keep_arq
from workers.batch import Trouble
from workers.connections import for_jobs
from workers.consumer import backoff
from workers.database import Pool, open_pool
from workers.jobs import Jobs
from workers.publish import publish_all, publish_changes, publish_if_missing

HASH = bytes(range(32))
CREATED_MS = 1_741_608_000_123


@dataclass(frozen=True, slots=True)
class World:
    """A workspace with one of everything, and the means to change it."""

    pool: Pool
    redis: Redis
    workspace: UUID
    program: UUID
    partner: UUID
    link: UUID

    async def execute(self, statement: str, *arguments: Any) -> None:
        await self.pool.execute(statement, *arguments)

    async def publish(self) -> int:
        async with self.pool.acquire() as connection:
            return await publish_changes(connection, self.redis)

    async def publish_if_missing(self) -> bool:
        async with self.pool.acquire() as connection:
            return await publish_if_missing(connection, self.redis)

    async def link_at(self, key: str) -> LinkRecord | None:
        raw = await self.redis.get(key)
        return LinkRecord.decode(raw) if raw else None

    async def announced(self) -> list[str]:
        entries = await self.redis.xrange(CHANGES_KEY)
        return [fields[CHANGES_FIELD].decode() for _, fields in entries]

    async def add_links(self, count: int) -> None:
        await self.pool.executemany(
            "insert into links (id, workspace_id, public_id, namespace, code, program_id)"
            " values ($1, $2, $3, '-', $3, $4)",
            [(uuid7(), self.workspace, f"n{n}", self.program) for n in range(count)],
        )


@pytest.fixture
async def world(database_url: str, redis_url: str) -> AsyncIterator[World]:
    async with open_pool(database_url, size=3) as pool, for_jobs(redis_url) as redis:
        ids = [uuid7() for _ in range(5)]
        workspace, program, partner, link, key = ids
        found = World(pool, redis, workspace, program, partner, link)
        await found.execute(
            "insert into workspaces (id, name) values ($1, 'w')", workspace
        )
        await found.execute(
            "insert into programs (id, number, workspace_id, name, url,"
            " cookie_window_days) values ($1, 12, $2, 'p', 'https://p.example', 30)",
            program,
            workspace,
        )
        await found.execute(
            "insert into partners (id, workspace_id, public_id, code, name)"
            " values ($1, $2, 'pn_1', 'jane', 'Jane')",
            partner,
            workspace,
        )
        await found.execute(
            "insert into links (id, workspace_id, public_id, namespace, code, url,"
            " program_id, partner_id, created_at) values ($1, $2, 'lk_1', '-', 'SPRING',"
            " 'https://shop.example', $3, $4, to_timestamp($5::bigint / 1000.0))",
            link,
            workspace,
            program,
            partner,
            CREATED_MS,
        )
        await found.execute("insert into link_aliases values ('-', 'WINTER', $1)", link)
        await found.execute(
            "insert into api_keys (id, workspace_id, key_hash, last_four, scopes)"
            " values ($1, $2, $3, '1234', '{events:write}')",
            key,
            workspace,
            HASH,
        )
        await found.execute(
            "insert into domains (domain, workspace_id) values ('go.example', $1)",
            workspace,
        )
        await found.execute(
            "insert into imported_clicks values ($1, 'tok', $2, $3)",
            workspace,
            link,
            link,
        )
        yield found


def expected_link(world: World) -> LinkRecord:
    return LinkRecord(
        link_uuid=world.link,
        workspace_uuid=world.workspace,
        public_id="lk_1",
        namespace="-",
        code="SPRING",
        domain="",
        url="https://shop.example",
        is_active=True,
        program_uuid=world.program,
        program_number=12,
        partner_uuid=world.partner,
        partner_code="jane",
        partner_public_id="pn_1",
        partner_name="Jane",
        cookie_window_days=30,
        attribution_window_days=60,
        created_at=CREATED_MS,
    )


async def everything_is_there(world: World) -> None:
    links = (
        link_key("-", "SPRING"),
        link_key("-", "WINTER"),
        link_id_key(world.link),
        partner_link_key(world.program, "jane"),
    )
    assert [expected_link(world)] * 4 == [await world.link_at(key) for key in links]
    for name in (program_key(12), program_id_key(world.program)):
        raw = await world.redis.get(name)
        assert ProgramRecord(
            program_uuid=world.program,
            workspace_uuid=world.workspace,
            number=12,
            url="https://p.example",
            cookie_window_days=30,
        ) == ProgramRecord.decode(raw)
    key = KeyRecord.decode(await world.redis.get(api_key_key(HASH)))
    assert (world.workspace, ["events:write"]) == (key.workspace_uuid, key.scopes)
    click = await world.redis.get(click_key(world.workspace, "tok"))
    assert ClickRecord(click_uuid=world.link, link_uuid=world.link) == (
        ClickRecord.decode(click)
    )
    assert await world.redis.exists(domain_key("go.example"))


async def test_what_was_created_is_published(world: World) -> None:
    published = await world.publish()

    await everything_is_there(world)
    assert published > 0
    assert 0 == await world.publish()
    assert link_key("-", "SPRING") in await world.announced()
    assert EVERYTHING not in await world.announced()


async def test_changes_alone_do_not_make_the_directory_whole(world: World) -> None:
    await world.publish()

    assert not await world.redis.exists(GENERATION_KEY)


async def test_an_empty_directory_is_published_whole_and_once(world: World) -> None:
    await world.execute("delete from directory_changes")

    assert await world.publish_if_missing()
    assert not await world.publish_if_missing()

    await everything_is_there(world)
    assert int(await world.redis.get(GENERATION_KEY)) > 1_700_000_000_000
    assert [EVERYTHING] == await world.announced()


async def test_a_link_without_program_and_partner_has_the_usual_windows(
    world: World,
) -> None:
    await world.execute(
        "insert into links (id, workspace_id, public_id, namespace, code)"
        " values ($1, $2, 'lk_2', 'd:go.example', 'x')",
        uuid7(),
        world.workspace,
    )
    await world.publish()

    found = await world.link_at(link_key("d:go.example", "x"))

    assert found is not None
    assert (None, None) == (found.program_uuid, found.partner_code)
    assert (60, 60) == (found.cookie_window_days, found.attribution_window_days)


async def test_a_changed_link_changes_under_all_its_codes(world: World) -> None:
    await world.publish()

    await world.execute("update links set is_active = false")
    await world.publish()

    keys = [link_key("-", "SPRING"), link_key("-", "WINTER"), link_id_key(world.link)]
    found = [await world.link_at(key) for key in keys]
    assert [False] * 3 == [link is not None and link.is_active for link in found]


async def test_the_old_code_of_a_renamed_link_is_gone(world: World) -> None:
    await world.publish()

    await world.execute("update links set code = 'SUMMER'")
    await world.publish()

    assert await world.link_at(link_key("-", "SPRING")) is None
    found = await world.link_at(link_key("-", "SUMMER"))
    assert found == await world.link_at(link_key("-", "WINTER"))
    assert found is not None
    assert "SUMMER" == found.code


async def test_the_old_code_of_a_renamed_link_may_stay_as_an_alias(
    world: World,
) -> None:
    await world.publish()

    await world.execute("update links set code = 'SUMMER'")
    await world.execute(
        "insert into link_aliases values ('-', 'SPRING', $1)", world.link
    )
    await world.publish()

    found = await world.link_at(link_key("-", "SPRING"))
    assert found is not None
    assert "SUMMER" == found.code


async def test_a_code_that_one_link_has_and_another_had_is_the_first_ones(
    world: World,
) -> None:
    await world.execute(
        "insert into links (id, workspace_id, public_id, namespace, code)"
        " values ($1, $2, 'lk_2', '-', 'WINTER')",
        uuid7(),
        world.workspace,
    )
    await world.publish()
    by_change = await world.link_at(link_key("-", "WINTER"))
    await world.redis.flushdb()
    await world.publish_if_missing()
    by_whole = await world.link_at(link_key("-", "WINTER"))

    assert by_change == by_whole
    assert by_whole is not None
    assert "lk_2" == by_whole.public_id


async def test_a_revoked_key_is_gone(world: World) -> None:
    await world.publish()

    await world.execute("update api_keys set revoked_at = now()")
    await world.publish()

    assert not await world.redis.exists(api_key_key(HASH))
    assert api_key_key(HASH) == (await world.announced())[-1]


async def test_a_renamed_partner_is_renamed_under_all_codes_of_its_links(
    world: World,
) -> None:
    await world.publish()

    await world.execute("update partners set code = 'janet'")
    await world.publish()

    keys = [link_key("-", "SPRING"), link_key("-", "WINTER"), link_id_key(world.link)]
    found = [await world.link_at(key) for key in keys]
    assert ["janet"] * 3 == [link and link.partner_code for link in found]
    assert set(keys) <= set(await world.announced())


async def test_a_partners_other_facts_are_nothing_to_publish(world: World) -> None:
    await world.publish()

    await world.execute("update partners set email = 'j@example.com'")

    assert 0 == await world.publish()


async def test_a_deleted_link_is_gone_under_all_its_codes(world: World) -> None:
    await world.publish()
    before = len(await world.announced())

    await world.execute("delete from imported_clicks")
    await world.execute("delete from link_aliases")
    await world.execute("delete from links")
    await world.publish()

    keys = {link_key("-", "SPRING"), link_key("-", "WINTER"), link_id_key(world.link)}
    assert 0 == await world.redis.exists(*keys)
    assert keys <= set((await world.announced())[before:])


async def test_counting_is_nothing_to_publish(world: World) -> None:
    await world.publish()

    await world.execute(
        "update links set clicks = clicks + 1, last_clicked_at = now(), leads = 7"
    )

    assert 0 == await world.publish()


async def test_removed_domains_and_aliases_are_gone(world: World) -> None:
    await world.publish()

    await world.execute("delete from domains")
    await world.execute("delete from link_aliases")
    await world.publish()

    assert not await world.redis.exists(domain_key("go.example"))
    assert await world.link_at(link_key("-", "WINTER")) is None


async def test_a_changed_program_changes_its_links(world: World) -> None:
    await world.publish()

    await world.execute("update programs set cookie_window_days = 7")
    await world.publish()

    for key in (link_key("-", "SPRING"), link_key("-", "WINTER")):
        found = await world.link_at(key)
        assert found is not None
        assert 7 == found.cookie_window_days
    raw = await world.redis.get(program_key(12))
    assert 7 == ProgramRecord.decode(raw).cookie_window_days


async def test_many_changes_are_published_in_parts_and_announced_as_one(
    world: World,
) -> None:
    await world.add_links(700)
    published = []
    while count := await world.publish():
        published.append(count)
    await world.redis.delete(CHANGES_KEY)

    await world.execute("update programs set cookie_window_days = 7")
    await world.publish()

    assert [500, 500] == published[:2]
    assert [EVERYTHING] == await world.announced()
    last = await world.link_at(link_key("-", "n699"))
    assert last is not None
    assert 7 == last.cookie_window_days


async def test_a_large_directory_is_published_whole(world: World) -> None:
    await world.add_links(1200)

    await world.publish_if_missing()

    assert 1201 == len(await world.redis.keys(link_id_key(UUID(int=0))[:-32] + "*"))


async def test_one_publisher_waits_for_another_by_doing_nothing(world: World) -> None:
    async with world.pool.acquire() as other, other.transaction():
        await other.execute("select pg_advisory_xact_lock(hashtext('reftide publish'))")

        assert 0 == await world.publish()
        assert not await world.publish_if_missing()

    assert 0 < await world.publish()


async def test_what_redis_did_not_take_is_published_again(world: World) -> None:
    await world.redis.set(CHANGES_KEY, "no stream")
    with pytest.raises(Exception, match="WRONGTYPE"):
        await world.publish()

    await world.redis.delete(CHANGES_KEY)
    await world.publish()

    assert link_key("-", "SPRING") in await world.announced()


async def test_a_directory_lost_while_it_was_published_is_not_called_whole(
    world: World,
) -> None:
    class Emptied(Redis):
        """Loses everything while the first look at what is left is on its way."""

        @override
        async def get(self, name: Any) -> Any:
            await self.flushdb()
            return await super().get(name)

    emptied = Emptied(connection_pool=world.redis.connection_pool)
    async with world.pool.acquire() as connection, connection.transaction():
        with pytest.raises(Trouble):
            await publish_all(connection, emptied)

    assert not await world.redis.exists(GENERATION_KEY)


# Partners' links, stats, switches, limits -------------------------------------------------


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
    async def off() -> list[Any] | None:
        raw = await world.redis.get(SWITCHES_KEY)
        return list(SwitchesRecord.decode(raw).off) if raw else None

    await world.execute("insert into switches values ('dialect', 'dub')")
    await world.execute("insert into switches values ('link', 'lk_1', 'fraud')")
    await both_ways(world, [["dialect", "dub"], ["link", "lk_1"]], off)

    await world.execute("delete from switches where scope = 'dialect'")
    await both_ways(world, [["link", "lk_1"]], off)

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


# By the clock ----------------------------------------------------------------------------


@pytest.fixture
async def clockwork(world: World, redis_url: str) -> AsyncIterator[World]:
    """The world, with the jobs of a worker running beside it."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        jobs = Jobs(world.pool, world.redis, 1)
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
