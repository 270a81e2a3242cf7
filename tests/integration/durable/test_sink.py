"""Stream first, disk second, as the edge's parts are put together."""

import asyncio
import time
from pathlib import Path
from uuid import UUID

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from ingest.contracts.stream import EDGES_KEY, GROUP, edge_key, events_key
from ingest.core.values import Overloaded
from ingest.durable.degradation import Level, Pressure
from ingest.durable.probes.pressure import look
from ingest.durable.spool.directory import stores
from tests.support.edge.sinks import SHARDS, an_edge, streamed
from tests.support.eventually import eventually
from tests.support.servers.valkey import Valkey


async def test_what_redis_cannot_take_waits_on_the_disk_and_follows_in_order(
    valkey: Valkey, tmp_path: Path
) -> None:
    async with an_edge(valkey.url, tmp_path) as edge:
        await edge.append(0)
        await asyncio.to_thread(valkey.kill)
        for number in range(2, 40, 2):
            await edge.append(number)
        assert [*range(2, 40, 2)] == await edge.spooled()

        await asyncio.to_thread(valkey.start)
        await eventually(edge.is_drained)

        assert [*range(0, 40, 2)] == await streamed(valkey.url)
        await edge.append(40)
        assert 40 == (await streamed(valkey.url))[-1]


@pytest.mark.hasty
async def test_a_frozen_redis_costs_one_wait_and_then_none(
    valkey: Valkey, tmp_path: Path
) -> None:
    async with an_edge(valkey.url, tmp_path) as edge:
        await edge.append(0)
        valkey.freeze()
        await edge.append(1)
        began = time.monotonic()
        for number in range(2, 52):
            await edge.append(number)
        took = time.monotonic() - began
        valkey.thaw()
        await eventually(edge.is_drained)

        assert took < 5
        assert set(range(52)) == set(await streamed(valkey.url))


@pytest.mark.parametrize(
    ("trouble", "cure"),
    [
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
        (
            ("CONFIG", "SET", "min-replicas-to-write", "1"),
            ("CONFIG", "SET", "min-replicas-to-write", "0"),
        ),
    ],
    ids=["out of memory", "read-only", "without replicas"],
)
async def test_a_redis_that_takes_no_writes_is_spared_until_it_does(
    trouble: tuple[str, ...], cure: tuple[str, ...], valkey: Valkey, tmp_path: Path
) -> None:
    async with (
        an_edge(valkey.url, tmp_path) as edge,
        Redis.from_url(valkey.url) as redis,
    ):
        await edge.append(0)
        await redis.execute_command(*trouble)
        await edge.append(1, 2, 3)
        assert {1, 2, 3} == {*(await edge.spooled())}
        assert Level.SPOOL is edge.sink.standing.level
        # Reading is no trouble, and is not kept from anybody.
        assert not edge.reach.is_open

        await redis.execute_command(*cure)
        await eventually(edge.is_drained)

    assert [0, 1, 2, 3] == sorted(await streamed(valkey.url))


async def test_one_bad_key_keeps_only_its_own_events_back(
    redis_url: str, tmp_path: Path
) -> None:
    async with (
        an_edge(redis_url, tmp_path) as edge,
        Redis.from_url(redis_url) as redis,
    ):
        await redis.set(events_key(0), "no stream")
        await edge.append(1, 2, 3, 4)
        assert {2, 4} == {*(await edge.spooled())}
        assert Level.STREAM is edge.sink.standing.level

        await redis.delete(events_key(0))
        await eventually(edge.is_drained)

    assert [1, 2, 3, 4] == sorted(await streamed(redis_url))


@pytest.mark.hasty
async def test_levels_are_said_once_and_told_in_redis(
    valkey: Valkey, tmp_path: Path
) -> None:
    with capture_logs() as logs:
        async with (
            an_edge(valkey.url, tmp_path) as edge,
            Redis.from_url(valkey.url) as redis,
        ):

            async def is_told() -> bool:
                return b'"stream"' in (await redis.get(edge_key("edge")) or b"")

            await eventually(is_told)
            assert [b"edge"] == await redis.zrange(EDGES_KEY, 0, -1)
            valkey.freeze()
            await edge.append(1)
            await edge.append(2)
            valkey.thaw()
            await eventually(edge.is_drained)
        async with Redis.from_url(valkey.url) as redis:
            assert not await redis.exists(edge_key("edge"), EDGES_KEY)

    said = [line["to"] for line in logs if line["event"] == "edge.level"]
    assert ["spool", "stream"] == said
    assert 1 == sum(line["event"] == "spool.drained" for line in logs)


async def test_a_full_spool_refuses_until_there_is_room(
    valkey: Valkey, tmp_path: Path
) -> None:
    async with an_edge(valkey.url, tmp_path, REFTIDE_SPOOL_BYTES="60") as edge:
        await asyncio.to_thread(valkey.kill)
        await edge.append(0)
        await edge.append(2)
        for number in (4, 6):
            with pytest.raises(Overloaded, match="spool"):
                await edge.sink.append(UUID(int=number), b"%d" % number)
        assert edge.spool.bytes <= 60
        kept = await edge.spooled()

        await asyncio.to_thread(valkey.start)
        await eventually(edge.is_drained)

        assert kept == sorted(await streamed(valkey.url))


async def test_the_spool_of_an_edge_that_is_gone_is_adopted(
    valkey: Valkey, tmp_path: Path
) -> None:
    await asyncio.to_thread(valkey.kill)
    async with an_edge(valkey.url, tmp_path) as gone:
        await gone.append(0, 2, 4)
    assert [0, 2, 4] == sorted(await gone.spooled())

    async with an_edge(valkey.url, tmp_path) as heir, an_edge(valkey.url, tmp_path):
        await heir.append(6)
        await asyncio.to_thread(valkey.start)
        await eventually(heir.is_drained)

    assert [0, 2, 4, 6] == sorted(await streamed(valkey.url))
    assert [] == await asyncio.to_thread(stores, tmp_path)


async def test_a_spool_is_drained_no_faster_than_told(
    redis_url: str, tmp_path: Path
) -> None:
    async with an_edge(redis_url, tmp_path, REFTIDE_INTAKE="spool") as edge:
        await edge.append(*range(60))
        assert Level.SPOOL is edge.sink.standing.level
    began = time.monotonic()
    async with an_edge(redis_url, tmp_path, REFTIDE_DRAIN_RATE="50") as edge:
        await eventually(edge.is_drained)

    assert 1 < time.monotonic() - began
    assert 60 == len(await streamed(redis_url))


async def test_an_operator_may_close_the_door(redis_url: str, tmp_path: Path) -> None:
    async with an_edge(redis_url, tmp_path, REFTIDE_INTAKE="refuse") as edge:
        with pytest.raises(Overloaded, match="REFTIDE_INTAKE"):
            await edge.sink.append(UUID(int=1), b"x")


async def test_pressure_is_what_waits_and_since_when(valkey: Valkey) -> None:
    async with Redis.from_url(valkey.url) as redis:
        assert Pressure(None, 0, 0.0) == (await look(redis, range(SHARDS))).pressure
        seconds, _ = await redis.time()
        for number in range(4):
            at = f"{(seconds - 100) * 1000 + number}-0"
            await redis.xadd(events_key(0), {"e": "x"}, id=at)
        without_group = (await look(redis, range(SHARDS))).pressure

        await redis.xgroup_create(events_key(0), GROUP, id="0")
        undelivered = (await look(redis, range(SHARDS))).pressure
        read = await redis.xreadgroup(GROUP, "one", {events_key(0): ">"}, count=3)
        await redis.config_set("maxmemory", "1gb")
        pending = (await look(redis, range(SHARDS))).pressure
        await redis.xack(events_key(0), GROUP, *(entry for entry, _ in read[0][1]))
        acknowledged = (await look(redis, range(SHARDS))).pressure
        await redis.xreadgroup(GROUP, "one", {events_key(0): ">"}, noack=True)
        at_rest = (await look(redis, range(SHARDS))).pressure

    felt = (without_group, undelivered, pending, acknowledged)
    assert [4, 4, 4, 1] == [one.unread for one in felt]
    assert all(99 <= (one.age or 0) < 130 for one in felt)
    assert (None, True) == (undelivered.memory, 0 < (pending.memory or 0) < 50)
    assert (0, 0.0) == (at_rest.unread, at_rest.age)
