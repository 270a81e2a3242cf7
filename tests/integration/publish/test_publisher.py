"""The publisher: from rows in Postgres to the records that edges read."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from ingest.contracts.directory import (
    CHANGES_KEY,
    EVERYTHING,
    GENERATION_KEY,
    ClickRecord,
    DomainRecord,
    KeyRecord,
    LinkRecord,
    ProgramRecord,
    api_key_key,
    click_key,
    domain_key,
    link_id_key,
    link_key,
    partner_link_key,
    program_id_key,
    program_key,
)
from tests.support.publishing import CREATED_MS, HASH, World, a_world


@pytest.fixture
async def world(database_url: str, redis_url: str) -> AsyncIterator[World]:
    async with a_world(database_url, redis_url) as made:
        yield made


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


async def test_what_redirects_ask_is_published(world: World) -> None:
    await world.publish()
    await world.execute(
        "update links set expires_at = to_timestamp(1800000000), click_param = 'cid'"
        " where code = 'SPRING'"
    )
    await world.execute("update programs set fallback_url = 'https://p.example/over'")
    await world.execute(
        "update domains set schemes = '{tel}', is_case_sensitive = true"
    )
    await world.publish()

    link = await world.link_at(link_key("-", "SPRING"))
    domain = await world.redis.get(domain_key("go.example"))

    assert link is not None
    assert (1_800_000_000_000, "https://p.example/over", "cid") == (
        link.ends_at,
        link.fallback_url,
        link.click_param,
    )
    assert DomainRecord(
        workspace_uuid=world.workspace, schemes=["tel"], is_case_sensitive=True
    ) == DomainRecord.decode(domain)
