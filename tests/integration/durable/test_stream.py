import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from ingest.contracts.placement.layout import Layout
from ingest.contracts.stream import (
    FIELD,
    SEALED_ID,
    SHARDS_KEY,
    events_key,
    split,
)
from ingest.durable.servers import one_server
from ingest.durable.stream import (
    AppendFailed,
    PendingAppend,
    ShardCountMismatch,
    Stream,
)
from ingest.redis_io.client import RedisBreaker, connect
from tests.support.eventually import eventually
from tests.support.servers.valkey import Valkey, running_valkey


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running_valkey() as server:
        yield server


@asynccontextmanager
async def a_stream(url: str, shards: int = 4) -> AsyncIterator[tuple[Stream, Redis]]:
    redis = connect(url, connections=8)
    stream = Stream(one_server(redis, Layout.at_home(shards), RedisBreaker()))
    yield stream, redis
    await stream.drain()
    await redis.aclose()


async def test_the_shard_follows_from_the_id(redis_url: str) -> None:
    async with a_stream(redis_url) as (stream, redis):
        for number in range(8):
            await stream.append(UUID(int=number), b"%d" % number)
        for shard in range(4):
            entries = await redis.xrange(events_key(shard))
            expected = [{FIELD: b"%d" % shard}, {FIELD: b"%d" % (shard + 4)}]
            assert expected == [fields for _, fields in entries]


async def test_events_that_are_appended_together_share_entries(redis_url: str) -> None:
    events = [PendingAppend(UUID(int=n), b'{"n":%d}' % n) for n in range(100)]
    async with a_stream(redis_url) as (stream, redis):
        stream.appended.set_epochs({0: 1, 1: 2, 2: 3, 3: 4})
        assert {None} == {*await stream.append_together(events)}

        # The shard follows from the id of an entry's first event: 0 and 64.
        entries = await redis.xrange(events_key(0))
        assert [64, 36] == [len(split(fields[FIELD])) for _, fields in entries]
        assert {"1": 2} == stream.appended.by_epoch()
        assert {"1": 100} == stream.appended.events_by_epoch()


async def test_an_entry_of_several_events_has_a_bound_of_bytes(redis_url: str) -> None:
    sizes = [30_000, 30_000, 30_000, 70_000, 10, 10]
    events = [PendingAppend(UUID(int=0), b"x" * size) for size in sizes]
    async with a_stream(redis_url, 1) as (stream, redis):
        await stream.append_together(events)

        entries = await redis.xrange(events_key(0))
        counts = [max(1, fields[FIELD].count(b",")) for _, fields in entries]
        assert [2, 1, 1, 2] == counts


async def test_a_burst_arrives_whole(redis_url: str) -> None:
    async with a_stream(redis_url) as (stream, redis):
        async with asyncio.TaskGroup() as tasks:
            for number in range(2000):
                tasks.create_task(stream.append(UUID(int=number), b"x"))
        lengths = [await redis.xlen(events_key(shard)) for shard in range(4)]

        assert 2000 == sum(lengths)


@pytest.mark.hasty
async def test_a_frozen_server_is_overload_within_seconds_and_said_once(
    valkey: Valkey,
) -> None:
    async with a_stream(valkey.url) as (stream, _):
        await stream.append(UUID(int=1), b"x")
        valkey.freeze()
        with capture_logs() as logs:
            async with asyncio.timeout(5):
                for number in range(2):
                    with pytest.raises(AppendFailed):
                        await stream.append(UUID(int=number), b"x")

        assert ["edge.overloaded"] == [line["event"] for line in logs]
        valkey.thaw()


@pytest.mark.hasty
async def test_what_waits_for_a_frozen_server_is_bounded(valkey: Valkey) -> None:
    async with a_stream(valkey.url) as (stream, _):
        await stream.append(UUID(int=1), b"x")
        valkey.freeze()
        asked = [
            asyncio.create_task(stream.append(UUID(int=number), b"x"))
            for number in range(13_000)
        ]
        done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        assert any("too many" in str(task.exception()) for task in done)

        await asyncio.wait(asked)
        assert {AppendFailed} == {type(task.exception()) for task in asked}
        valkey.thaw()


async def test_a_server_that_died_and_came_back_is_used_again(valkey: Valkey) -> None:
    async with a_stream(valkey.url) as (stream, redis):
        await stream.append(UUID(int=0), b"before")
        await asyncio.to_thread(valkey.kill)
        with pytest.raises(AppendFailed):
            await stream.append(UUID(int=4), b"during")
        await asyncio.to_thread(valkey.start)

        # Until the breaker's next probe, nobody asks.
        async def is_taken() -> bool:
            return not await refused(stream, UUID(int=8), b"after")

        await eventually(is_taken)
        entries = await redis.xrange(events_key(0))
        assert [b"before", b"after"] == [fields[FIELD] for _, fields in entries]


async def test_a_stream_that_is_none_fails_its_own_events_only(redis_url: str) -> None:
    async with a_stream(redis_url) as (stream, redis):
        await redis.set(events_key(0), "not a stream")
        async with asyncio.TaskGroup() as tasks:
            bad = tasks.create_task(refused(stream, UUID(int=0)))
            good = tasks.create_task(refused(stream, UUID(int=1)))

        assert [True, False] == [bad.result(), good.result()]


async def refused(stream: Stream, event_id: UUID, payload: bytes = b"x") -> bool:
    try:
        await stream.append(event_id, payload)
    except AppendFailed:
        return True
    return False


async def test_a_replica_takes_no_events(valkey: Valkey) -> None:
    async with a_stream(valkey.url) as (stream, redis):
        await stream.append(UUID(int=1), b"x")
        await redis.execute_command("REPLICAOF", "127.0.0.1", "1")

        with pytest.raises(AppendFailed, match="read only"):
            await stream.append(UUID(int=1), b"x")


async def test_all_processes_agree_on_the_number_of_shards(redis_url: str) -> None:
    async with (
        a_stream(redis_url, 4) as (stream, redis),
        a_stream(redis_url, 8) as (odd, _),
    ):
        await stream.confirm_shards()
        await stream.confirm_shards()

        assert b"4" == await redis.get(SHARDS_KEY)
        with pytest.raises(ShardCountMismatch, match="REFTIDE_SHARDS is 8"):
            await odd.confirm_shards()
        with pytest.raises(AppendFailed, match="REFTIDE_SHARDS is 8"):
            await odd.append(UUID(int=1), b"x")
        assert 0 == await redis.exists(events_key(1))


async def test_a_caller_who_leaves_breaks_no_connection(redis_url: str) -> None:
    async with a_stream(redis_url) as (stream, redis):
        for number in range(50):
            leaving = asyncio.create_task(stream.append(UUID(int=number), b"left"))
            await asyncio.sleep(0)
            leaving.cancel()
            await stream.append(UUID(int=number), b"stayed")

        lengths = [await redis.xlen(events_key(shard)) for shard in range(4)]
        assert 50 <= sum(lengths) <= 100


async def sealed(redis: Redis, *shards: int) -> None:
    for shard in shards:
        await redis.xgroup_create(events_key(shard), "recorder", mkstream=True)
        await redis.execute_command("XSETID", events_key(shard), SEALED_ID)


async def test_events_of_a_sealed_shard_go_to_the_others(redis_url: str) -> None:
    async with a_stream(redis_url) as (stream, redis):
        await stream.confirm_shards()
        await sealed(redis, 0, 1)
        for number in (0, 1):
            with pytest.raises(AppendFailed, match="exhausted"):
                await stream.append(UUID(int=number), b"x")
        for number in range(8):
            await stream.append(UUID(int=number), b"%d" % number)

        found = [await redis.xlen(events_key(shard)) for shard in range(4)]
        assert ([0, 0], 8) == (found[:2], sum(found))


async def test_where_all_shards_are_sealed_nothing_is_sent(redis_url: str) -> None:
    redis, writes = connect(redis_url, connections=8), RedisBreaker()
    servers = one_server(redis, Layout.at_home(2), writes)
    stream = Stream(servers)
    await stream.confirm_shards()
    await sealed(redis, 0, 1)
    for number in range(2):
        with pytest.raises(AppendFailed, match="exhausted"):
            await stream.append(UUID(int=number), b"x")

    assert "its streams are sealed" in (writes.problem or "")
    assert frozenset() == servers.in_use
    # What the probe sees later opens them again.
    await redis.execute_command("XSETID", events_key(0), "1-1")
    writes.close()
    assert servers.note_sealed([0, 1], {1}) is None
    await stream.append(UUID(int=1), b"x")
    assert 1 == await redis.xlen(events_key(0))
    await stream.drain()
    await redis.aclose()


async def test_events_of_shards_that_are_no_more_go_to_the_others(
    redis_url: str,
) -> None:
    redis, writes = connect(redis_url, connections=8), RedisBreaker()
    servers = one_server(redis, Layout.at_home(4), writes)
    stream = Stream(servers)
    await stream.confirm_shards()
    found = []
    for record in (b"2", b"many", None, b"8"):
        servers.note_agreed(record)
        found.append((sorted(servers.in_use), servers.note_sealed(range(4), ())))
    servers.note_agreed(b"2")
    for number in range(8):
        await stream.append(UUID(int=number), b"x")
    lengths = [await redis.xlen(events_key(shard)) for shard in range(4)]
    servers.note_agreed(b"11,43 on 2 servers")
    elsewhere = servers.note_sealed(range(4), ())

    assert [([0, 1], None), *[([0, 1, 2, 3], None)] * 3] == found
    assert ([0, 0], 8) == (lengths[2:], sum(lengths))
    assert "its streams are sealed" in (elsewhere or "")
    await stream.drain()
    await redis.aclose()
