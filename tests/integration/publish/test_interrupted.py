"""The publisher among others: it dies, stands still, or Redis takes nothing of it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Self

import pytest
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from typing_extensions import override
from uuid_utils.compat import uuid7

from ingest.contracts.directory import (
    CHANGES_KEY,
    GENERATION_KEY,
    PUBLISHER_PREFIX,
    LinkRecord,
    api_key_key,
    customer_key,
    link_key,
    stats_key,
)
from tests.support.publishing import HASH, World, a_world
from workers.erasure.redis_data import forget_customer
from workers.model.batch import TransientError
from workers.postgres.database import translate_errors
from workers.publish.publisher import (
    publish_all,
    publish_changes,
    publish_if_missing,
)


@pytest.fixture
async def world(database_url: str, redis_url: str) -> AsyncIterator[World]:
    async with a_world(database_url, redis_url) as made:
        yield made


class Interrupted(Redis):
    """Something else happens, once, before it watches a key or writes to it in a pipeline."""

    key: str
    meanwhile: Callable[[], Awaitable[None]]

    @classmethod
    def before(
        cls, key: str, redis: Redis, meanwhile: Callable[[], Awaitable[None]]
    ) -> Self:
        made = cls(connection_pool=redis.connection_pool)
        made.key, made.meanwhile = key, meanwhile
        return made

    @override
    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Pipeline:
        pipe = super().pipeline(transaction, shard_hint)
        watch, execute = pipe.watch, pipe.execute

        async def watched_late(*names: Any) -> bool:
            await self._interrupt(names)
            return await watch(*names)

        async def executed_late() -> Any:
            await self._interrupt(pipe.command_stack)
            return await execute()

        pipe.watch = watched_late  # type: ignore[method-assign]
        pipe.execute = executed_late  # type: ignore[method-assign]
        return pipe

    async def _interrupt(self, commands: Sequence[Any]) -> None:
        if self.key and self.key in str(commands):
            self.key = ""
            await self.meanwhile()


async def end_session(world: World, pid: int) -> None:
    """As Postgres does it with who is idle in a transaction for too long."""
    await world.execute("select pg_terminate_backend($1, 5000)", pid)


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
    async def empty() -> None:
        await world.redis.flushdb()

    forgetful = Interrupted.before(GENERATION_KEY, world.redis, empty)
    async with world.pool.acquire() as connection, connection.transaction():
        with pytest.raises(TransientError):
            await publish_all(connection, forgetful)

    assert not await world.redis.exists(GENERATION_KEY)


@pytest.mark.parametrize("moment", [PUBLISHER_PREFIX, api_key_key(HASH)])
async def test_a_publisher_that_stood_still_overwrites_nothing_newer(
    world: World, moment: str
) -> None:
    async def revoke() -> None:
        await end_session(world, publisher)
        await world.execute("update api_keys set revoked_at = now()")
        assert 0 < await world.publish()

    await world.publish()
    await world.execute("update api_keys set scopes = '{events:read}'")
    async with world.pool.acquire() as connection:
        publisher = connection.get_server_pid()
        frozen = Interrupted.before(moment, world.redis, revoke)
        with pytest.raises(TransientError), translate_errors():
            await publish_changes(connection, frozen)

    assert not await world.redis.exists(api_key_key(HASH))
    assert 0 == await world.publish()


async def test_a_publisher_that_stood_still_knows_nobody_who_was_erased_meanwhile(
    world: World,
) -> None:
    async def erase() -> None:
        await end_session(world, publisher)
        await world.execute("delete from customers")
        await forget_customer(world.redis, world.workspace, "jane")

    jane = customer_key(world.workspace, "jane")
    await world.execute(
        "insert into customers (id, workspace_id, external_id, seen_at, used_on)"
        " values ($1, $2, 'jane', now(), current_date)",
        uuid7(),
        world.workspace,
    )
    await world.execute(
        "insert into directory_changes (topic, ref) values ('customer', $1)",
        f"{world.workspace} jane",
    )
    async with world.pool.acquire() as connection:
        publisher = connection.get_server_pid()
        frozen = Interrupted.before(jane, world.redis, erase)
        with pytest.raises(TransientError), translate_errors():
            await publish_changes(connection, frozen)

    assert not await world.redis.exists(jane)


async def test_a_link_is_published_while_stats_take_long(world: World) -> None:
    async def add_a_link() -> None:
        await world.add_links(1)
        assert 0 < await world.publish()
        found.append(await world.link_at(link_key("-", "n0")))

    found: list[LinkRecord | None] = []
    stats = stats_key(world.workspace, "jane")
    await world.publish()
    await world.execute("update programs set has_stats = true")
    async with world.pool.acquire() as connection:
        slow = Interrupted.before(stats, world.redis, add_a_link)
        await publish_changes(connection, slow)

    assert [False] == [link is None for link in found]
    assert await world.redis.exists(stats)
    assert 0 == await world.publish()


async def test_who_stood_still_publishing_everything_overwrites_no_part(
    world: World,
) -> None:
    async def rename() -> None:
        await end_session(world, publisher)
        await world.execute("update partners set code = 'janet'")
        assert 0 < await world.publish()

    async with world.pool.acquire() as connection:
        publisher = connection.get_server_pid()
        frozen = Interrupted.before(link_key("-", "SPRING"), world.redis, rename)
        with pytest.raises(TransientError), translate_errors():
            await publish_if_missing(connection, frozen)

    link = await world.link_at(link_key("-", "SPRING"))
    assert "janet" == (link and link.partner_code)


async def test_everything_is_published_when_no_part_is_being_published(
    world: World,
) -> None:
    async def publish_all_too() -> None:
        results.append(await world.publish_if_missing())

    results: list[bool] = []
    async with world.pool.acquire() as connection:
        busy = Interrupted.before(api_key_key(HASH), world.redis, publish_all_too)
        await publish_changes(connection, busy)
    results.append(await world.publish_if_missing())

    assert [False, True] == results
