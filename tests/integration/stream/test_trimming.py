"""Trimming: what everybody has read goes after a while, what anybody needs stays."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from ingest.contracts.stream import (
    FIELD,
    GROUP,
    GROUPS_KEY,
    EntryId,
    cut_key,
    epoch_key,
    events_key,
)
from tests.support.servers.valkey import running_valkey
from workers.model.batch import TransientError
from workers.redis_io.connections import for_jobs
from workers.redis_io.stream_state import read_stream
from workers.stream import trimmer
from workers.stream.trimmer import Trimmer, lowest_needed

STREAM = events_key(0)
HOUR_MS = 3_600_000
#: Whole nodes go, and the server makes them of a hundred entries.
NODE = 100
_PAGE = 2_000


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with for_jobs(redis_url) as client:
        await client.set(epoch_key(0), 1)
        await client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
        yield client


async def add(
    redis: Redis, count: int, *, hours_ago: float = 48, payload: bytes = b"x"
) -> None:
    """Append so many entries, a millisecond apart, the first of them so long ago."""
    seconds, _ = await redis.time()
    first = seconds * 1000 - int(hours_ago * HOUR_MS)
    # A page at a time: a client waits for an answer no longer than a worker's would.
    for page in range(0, count, _PAGE):
        async with redis.pipeline(transaction=False) as pipe:
            for number in range(page, min(page + _PAGE, count)):
                pipe.xadd(STREAM, {FIELD: payload}, id=f"{first + number}-0")
            await pipe.execute()


async def read(redis: Redis, count: int, *, group: str = GROUP) -> list[bytes]:
    """Have a group read, and acknowledge nothing."""
    answer = await redis.xreadgroup(group, "one", {STREAM: ">"}, count)
    return [entry for entry, _ in answer[0][1]]


async def settle(redis: Redis, count: int, *, group: str = GROUP) -> None:
    for page in range(0, count, _PAGE):
        size = min(_PAGE, count - page)
        await redis.xack(STREAM, group, *await read(redis, size, group=group))


async def trim(redis: Redis, keep_hours: int = 24) -> int:
    return await Trimmer(redis, [0], keep_hours).trim()


async def first_of(redis: Redis) -> bytes:
    ((entry, _),) = await redis.xrange(STREAM, count=1)
    return bytes(entry)


async def test_what_everybody_has_read_goes_when_it_is_old(redis: Redis) -> None:
    await add(redis, 5 * NODE)
    await add(redis, NODE, hours_ago=1)
    await settle(redis, 6 * NODE)

    with capture_logs() as logs:
        gone = await trim(redis)

    # A node that the window divides stays.
    assert 4 * NODE < gone <= 5 * NODE
    assert 6 * NODE - gone == await redis.xlen(STREAM)
    assert [("stream.trimmed", gone)] == [
        (line["event"], line["count"]) for line in logs
    ]


async def test_what_is_within_the_window_stays(redis: Redis) -> None:
    await add(redis, 3 * NODE, hours_ago=23)
    await settle(redis, 3 * NODE)

    assert 0 == await trim(redis, keep_hours=24)
    assert 0 < await trim(redis, keep_hours=22)


async def test_nothing_undelivered_goes(redis: Redis) -> None:
    await add(redis, 5 * NODE)

    assert 0 == await trim(redis, keep_hours=0)

    await settle(redis, 2 * NODE + 1)
    assert 2 * NODE == await trim(redis, keep_hours=0)
    assert 3 * NODE - 1 == len(await read(redis, 5 * NODE))


async def test_nothing_goes_from_the_oldest_pending_entry_on(redis: Redis) -> None:
    await add(redis, 5 * NODE)
    await settle(redis, 2 * NODE)
    pending = await read(redis, NODE)
    await settle(redis, 2 * NODE)

    assert 2 * NODE == await trim(redis, keep_hours=0)

    assert pending[0] == await first_of(redis)
    found = await redis.xreadgroup(GROUP, "one", {STREAM: "0"})
    assert all(fields for _, fields in found[0][1])


async def test_every_group_that_there_is_holds_entries_back(redis: Redis) -> None:
    await redis.xgroup_create(STREAM, "another", "0")
    await add(redis, 4 * NODE)
    await settle(redis, 4 * NODE)
    await settle(redis, NODE, group="another")

    assert NODE == await trim(redis, keep_hours=0)

    await settle(redis, 3 * NODE, group="another")
    assert 3 * NODE == await trim(redis, keep_hours=0)


async def test_without_a_registered_group_nothing_goes(redis: Redis) -> None:
    await redis.sadd(GROUPS_KEY, "archive")
    await add(redis, 3 * NODE)
    await settle(redis, 3 * NODE)

    with capture_logs() as logs:
        assert 0 == await trim(redis, keep_hours=0)

    assert [("trim.refused", 0, ["archive"])] == [
        (line["event"], line["shard"], line["missing"]) for line in logs
    ]
    assert "warning" == logs[0]["log_level"]
    await redis.xgroup_create(STREAM, "archive", "$")
    assert 3 * NODE == await trim(redis, keep_hours=0)


async def test_a_shard_without_its_group_does_not_keep_the_others(
    redis: Redis,
) -> None:
    await redis.xadd(events_key(1), {FIELD: b"x"})
    await add(redis, 3 * NODE)
    await settle(redis, 3 * NODE)

    with capture_logs() as logs:
        gone = await Trimmer(redis, [0, 1, 2], 0).trim()

    assert 3 * NODE == gone
    assert [1] == [line["shard"] for line in logs if "shard" in line]


async def test_a_life_that_has_no_number_yet_is_left_alone(redis: Redis) -> None:
    await add(redis, 3 * NODE)
    await settle(redis, 3 * NODE)
    await redis.delete(epoch_key(0))

    assert 0 == await trim(redis, keep_hours=0)


async def test_what_was_learnt_of_a_former_life_cuts_nothing_of_the_next(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add(redis, 3 * NODE)
    await settle(redis, 3 * NODE)

    async def and_then_it_ends(client: Redis, shard: int, **how: bool) -> Any:
        stream = await read_stream(client, shard, **how)
        await client.set(epoch_key(0), 2)
        return stream

    monkeypatch.setattr(trimmer, "read_stream", and_then_it_ends)

    assert 0 == await trim(redis, keep_hours=0)


async def test_what_was_added_stays_counted_and_what_was_cut_is(redis: Redis) -> None:
    await add(redis, 3 * NODE)
    await settle(redis, 3 * NODE)

    await trim(redis, keep_hours=0)
    await add(redis, 5, hours_ago=0)

    stream = await read_stream(redis, 0)
    assert stream is not None
    assert (3 * NODE + 5, 3 * NODE, 5) == (stream.added, stream.cut, stream.length)
    assert 0 == stream.removed_by_others
    assert b"300" == await redis.get(cut_key(0))


async def test_long_streams_are_cut_in_many_steps(redis: Redis) -> None:
    await add(redis, 250 * NODE)
    await settle(redis, 250 * NODE)
    before = await _calls(redis)

    assert 250 * NODE == await trim(redis, keep_hours=0)

    # Redis takes a hundred nodes at a time, and the last call finds nothing.
    assert 4 == await _calls(redis) - before


async def test_memory_that_runs_short_costs_the_window_and_no_more() -> None:
    with running_valkey() as valkey:
        async with for_jobs(valkey.url) as redis:
            await _fill(redis, 40_000)
            await settle(redis, 39_000)
            limit = (await redis.info("memory"))["used_memory"] * 5 // 4
            await redis.config_set("maxmemory", limit)
            with capture_logs() as logs:
                gone = await trim(redis, keep_hours=24)
            used = (await redis.info("memory"))["used_memory"]

    # Enough, and the rest of the window is kept.
    assert 0 < gone < 39_000
    assert used <= limit * trimmer.MEMORY_LIMIT
    assert ["stream.trimmed"] == [line["event"] for line in logs]


async def test_memory_that_runs_short_costs_nothing_unread() -> None:
    with running_valkey() as valkey:
        async with for_jobs(valkey.url) as redis:
            await _fill(redis, 3_000)
            await settle(redis, 1_000)
            # Full to the brim, so that nothing may be added any more.
            await redis.config_set("maxmemory", 1)
            with capture_logs() as logs:
                await trim(redis, keep_hours=24)
            stream = await read_stream(redis, 0)

    assert stream is not None
    assert 2_000 <= stream.length < 2_000 + NODE
    assert (0, 3_000) == (stream.removed_by_others, stream.cut + stream.length)
    assert "stream.crowded" in [line["event"] for line in logs]


async def test_a_server_that_does_not_answer_is_trouble() -> None:
    with running_valkey() as valkey:
        async with for_jobs(valkey.url) as redis:
            await redis.ping()
            valkey.kill()
            with pytest.raises(TransientError):
                await trim(redis)
            valkey.start()


@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        (lambda ids: None, EntryId(0, 1)),
        (lambda ids: ids[2:], EntryId(3, 0)),
        (lambda ids: [], EntryId(5, 1)),
    ],
    ids=["nothing read", "some pending", "all acknowledged"],
)
async def test_the_lowest_id_that_is_needed(
    redis: Redis,
    prepare: Callable[[list[bytes]], list[bytes] | None],
    expected: EntryId,
) -> None:
    for number in range(1, 6):
        await redis.xadd(STREAM, {FIELD: b"x"}, id=f"{number}-0")
    pending = prepare([b"%d-0" % number for number in range(1, 6)])
    if pending is not None:
        delivered = await read(redis, 5)
        done = set(delivered) - set(pending)
        await redis.xack(STREAM, GROUP, *done)

    stream = await read_stream(redis, 0)

    assert stream is not None
    assert expected == lowest_needed(stream)


async def _fill(redis: Redis, count: int) -> None:
    await redis.set(epoch_key(0), 1)
    await redis.xgroup_create(STREAM, GROUP, "0", mkstream=True)
    await add(redis, count, hours_ago=1, payload=bytes(300))


async def _calls(redis: Redis) -> int:
    """How often the server has trimmed."""
    stats = await redis.info("commandstats")
    return int(stats.get("cmdstat_xtrim", {"calls": 0})["calls"])
