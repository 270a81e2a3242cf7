"""A server that has streams before a change and after it keeps those that are in both."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from typing_extensions import override

from ingest.contracts.placement.layout import Layout, spread
from ingest.contracts.placement.streams_url import AT_HOME, Placement, place_of
from ingest.contracts.stream import PLACE_KEY, SEALED_ID, SHARDS_KEY, events_key
from scripts.services.shards.checks import replaced
from scripts.services.shards.sides import Side
from tests.support.servers.cli import Cli
from tests.support.servers.valkey import Valkey, running_valkey
from tests.support.streams.resharding import waiting_behind

pytestmark = pytest.mark.timeout(120)


class _Restarting(AsyncRedis):
    """A client whose server restarts before it is first asked."""

    restarts: Valkey | None = None

    @override
    async def execute_command(self, *args: Any, **options: Any) -> Any:
        if self.restarts is not None:
            self.restarts.kill()
            self.restarts.start()
            self.restarts = None
        return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]


def side(valkey: Valkey) -> Side:
    """Shard 0 of a server, by a client that connects again."""
    client = _Restarting(
        unix_socket_path=str(valkey.socket),
        retry=Retry(NoBackoff(), 3),
        retry_on_error=[RedisConnectionError],
    )
    return Side(Placement(Layout.at_home(1), AT_HOME), client)


@pytest.fixture
def first() -> Iterator[Valkey]:
    with running_valkey("everysec", port=True) as server:
        yield server


@pytest.fixture
def second() -> Iterator[Valkey]:
    with running_valkey("everysec", port=True) as server:
        yield server


@pytest.mark.parametrize("restarts", [0, 1])
async def test_a_server_that_restarts_between_two_questions_is_one(
    first: Valkey, restarts: int
) -> None:
    sides = side(first), side(first)
    sides[restarts].redis.restarts = first  # type: ignore[attr-defined]

    assert not await replaced(*sides, 0)

    for each in sides:
        await each.redis.aclose()


async def test_two_servers_are_two_also_if_one_of_them_restarts(
    first: Valkey, second: Valkey
) -> None:
    sides = side(first), side(second)
    sides[1].redis.restarts = second  # type: ignore[attr-defined]

    assert await replaced(*sides, 0)

    for each in sides:
        await each.redis.aclose()


async def test_a_stream_that_stays_keeps_its_entries_and_is_open_at_the_end(
    cli: Cli, redis_url: str, tmp_path: Path, first: Valkey, second: Valkey
) -> None:
    with Redis.from_url(redis_url) as home:
        home.set(SHARDS_KEY, Layout.apart(6, "2 servers").record)
    variables = {**cli.variables, "STREAMS_URL": f"{first.url},{second.url}"}
    words = ("shards", "--to", "4", "--streams-url", second.url, "--drop-entries")
    # The second one of a list of two, and of one server.
    key = events_key(spread(6)[1])
    with Redis.from_url(second.url) as there:
        async with waiting_behind("agreed", variables, tmp_path, *words) as (
            process,
            onward,
        ):
            there.xadd(key, {"e": "x"})
            # As a replica has it that was cut off before the stream was opened.
            there.execute_command("XSETID", key, SEALED_ID)
            onward.touch()
            await process.wait()

        assert 0 == process.returncode
        assert 1 == there.xlen(key)
        there.xadd(key, {"e": "x"})


async def test_servers_of_another_order_have_their_former_places_until_all_is_cleared(
    cli: Cli, redis_url: str, tmp_path: Path, first: Valkey, second: Valkey
) -> None:
    servers = (first, second)
    with Redis.from_url(redis_url) as home:
        home.set(SHARDS_KEY, Layout.apart(4, "2 servers").record)
    for at, server in enumerate(servers):
        with Redis.from_url(server.url) as there:
            there.set(PLACE_KEY, place_of(at, 2))
    variables = {**cli.variables, "STREAMS_URL": f"{first.url},{second.url}"}
    words = ("shards", "--to", "4", "--streams-url", f"{second.url},{first.url}")
    former = [place_of(0, 2), place_of(1, 2)]

    async with waiting_behind("cleared", variables, tmp_path, *words) as (
        process,
        onward,
    ):
        # A worker with the former list that restarts now may have something to record.
        assert former == places(servers)
        onward.touch()
        await process.wait()

    assert 0 == process.returncode
    assert former[::-1] == places(servers)


def places(servers: Iterable[Valkey]) -> list[bytes | None]:
    found = []
    for each in servers:
        with Redis.from_url(each.url) as there:
            found.append(there.get(PLACE_KEY))
    return found
