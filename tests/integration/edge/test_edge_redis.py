"""The edge and its Redis: when it is ready, and what it does without."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer
from redis.asyncio import Redis
from uuid_utils import uuid7

from ingest.app import HEALTH, build
from ingest.contracts import ids
from ingest.contracts.stream import EDGES_KEY, SHARDS_KEY, edge_key, events_key
from ingest.durable.edge_clock import unix_ms
from ingest.durable.stream import ShardCountMismatch
from tests.support.eventually import eventually
from tests.support.servers.edges import (
    WORLD,
    Client,
    a_setting,
    an_edge,
    publish,
    recorded,
)
from tests.support.servers.valkey import Valkey, running_valkey


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running_valkey() as server:
        yield server


@pytest.fixture
async def client(redis_url: str, tmp_path: Path) -> AsyncIterator[Client]:
    await publish(redis_url)
    async with an_edge(redis_url, tmp_path) as made:
        yield made


async def has_level(client: Client, level: str) -> bool:
    answer = await client.get("/readyz")
    return answer.status == 200 and level == (await answer.json())["level"]


async def test_health_is_told(client: Client) -> None:
    assert 200 == (await client.get("/livez")).status
    assert 200 == (await client.get("/readyz")).status
    assert {"version"} == {*await (await client.get("/version")).json()}


async def test_who_is_draining_is_not_ready(client: Client) -> None:
    client.app[HEALTH].is_draining = True

    answer = await client.get("/readyz")

    expected = {"ready": False, "problem": "draining"}
    assert (503, expected) == (answer.status, await answer.json())


async def test_an_edge_uses_those_of_its_shards_that_there_are(
    client: Client, redis_url: str
) -> None:
    is_at = partial(has_level, client)
    async with Redis.from_url(redis_url) as redis:
        await redis.set(SHARDS_KEY, 2)
        await eventually(lambda: is_at("stream"))
        for _ in range(20):
            await client.post("/web/click/ALICE")
        lengths = [await redis.xlen(events_key(shard)) for shard in range(4)]
        await redis.set(SHARDS_KEY, "0,11,42,43 on 2 servers")
        await eventually(lambda: is_at("spool"))
        # Those of this edge are among them.
        await redis.set(SHARDS_KEY, 8)
        await eventually(lambda: is_at("stream"))

    assert ([0, 0], 20) == (lengths[2:], sum(lengths))


async def test_an_edge_that_is_not_told_which_shards_there_are_changes_none(
    client: Client, redis_url: str
) -> None:
    is_at = partial(has_level, client)
    async with Redis.from_url(redis_url, decode_responses=True) as redis:
        await redis.set(SHARDS_KEY, "0,11,42,43 on 2 servers")
        await eventually(lambda: is_at("spool"))
        async with redis.pipeline() as pipe:
            await pipe.delete(SHARDS_KEY).lpush(SHARDS_KEY, "an error").execute()
        # The second probe after that begins when the first has told all.
        for _ in range(2):
            [edge] = await redis.zrange(EDGES_KEY, 0, -1)
            await redis.delete(edge_key(edge))
            await eventually(partial(redis.exists, edge_key(edge)))

        assert await is_at("spool")
        await redis.delete(SHARDS_KEY)
        await eventually(lambda: is_at("stream"))


async def test_without_redis_the_edge_starts_keeps_events_and_brings_them(
    valkey: Valkey, tmp_path: Path
) -> None:
    await asyncio.to_thread(valkey.kill)
    async with an_edge(valkey.url, tmp_path) as client:
        click = await client.post("/web/click/ALICE")
        ready = await client.get("/readyz")
        assert (200, 200) == (click.status, ready.status)
        assert "spool" == (await ready.json())["level"]

        await asyncio.to_thread(valkey.start)

        await eventually(lambda: has_entries(valkey.url, 1))
        # Nobody has published a directory: the click waits for one.
        [envelope] = await recorded(valkey.url)
        assert ("ALICE", None) == (envelope.target.code, envelope.target.link_id)
        assert "stream" == (await (await client.get("/readyz")).json())["level"]


async def has_entries(url: str, count: int) -> bool:
    return count == len(await recorded(url))


async def test_without_redis_and_without_room_the_edge_refuses(
    valkey: Valkey, tmp_path: Path
) -> None:
    await asyncio.to_thread(valkey.kill)
    async with an_edge(valkey.url, tmp_path, REFTIDE_SPOOL_BYTES="0") as client:
        click = await client.post("/web/click/ALICE")
        ready = await client.get("/readyz")

        assert (503, 400) == (ready.status, click.status)
        assert {"no": "overloaded"} == await click.json()
        assert "1" == click.headers["Retry-After"]

        await asyncio.to_thread(valkey.start)

        await eventually(lambda: is_taken(client))


async def is_taken(client: Client) -> bool:
    return 200 == (await client.post("/web/click/ALICE")).status


async def test_another_number_of_shards_is_no_start(
    redis_url: str, tmp_path: Path
) -> None:
    async with Redis.from_url(redis_url) as redis:
        await redis.set(SHARDS_KEY, 8)
    server = TestServer(build(a_setting(redis_url, tmp_path), WORLD))

    with pytest.raises(ShardCountMismatch, match="set REFTIDE_SHARDS"):
        await server.start_server()

    await server.close()


async def test_an_edge_whose_clock_is_an_hour_ahead_goes_by_that_of_redis(
    redis_url: str, tmp_path: Path
) -> None:
    hour = 3_600_000
    world = replace(
        WORLD,
        clock=lambda: unix_ms() + hour,
        new_id=lambda: uuid7(nanoseconds=(unix_ms() + hour) * 1_000_000),
    )
    await publish(redis_url)
    server = TestServer(build(a_setting(redis_url, tmp_path), world))
    await server.start_server(auto_decompress=False)
    async with TestClient(server) as client:
        # The first request comes after the first look at Redis' clock.
        assert 200 == (await client.post("/web/click/ALICE")).status

    [envelope] = await recorded(redis_url)
    now = unix_ms()
    assert now - 60_000 < ids.millis(envelope.id) <= now + 2
    assert now - 60_000 < envelope.request.at <= now + 2
