"""The directory as an edge caches it, and how changes reach it."""

import asyncio
from pathlib import Path

from redis.asyncio import Redis

from ingest.contracts.directory import (
    CHANGES_FIELD,
    CHANGES_KEY,
    EVERYTHING,
    program_key,
)
from ingest.core.values import Missing
from tests.support.edge.directories import (
    Publisher,
    a_directory,
    a_program,
    becomes,
    eventually,
    stands,
)
from tests.support.servers.valkey import Valkey


async def reads(redis: Redis) -> int:
    stats = await redis.info("commandstats")
    return int(stats.get("cmdstat_mget", {"calls": 0})["calls"])


async def test_what_is_cached_costs_no_round_trip(
    publisher: Publisher, valkey: Valkey, tmp_path: Path
) -> None:
    await publisher.write(a_program(1))
    async with a_directory(valkey.url, tmp_path) as directory:
        await stands(directory)
        for _ in range(10):
            assert a_program(1) == await directory.program(1)
            assert Missing.UNKNOWN is await directory.program(2)

    assert 2 == await reads(publisher.redis)


async def test_misses_at_the_same_time_ask_for_a_key_once(
    publisher: Publisher, valkey: Valkey, tmp_path: Path
) -> None:
    await publisher.write(a_program(1))
    async with a_directory(valkey.url, tmp_path) as directory:
        await stands(directory)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(200):
                tasks.create_task(directory.program(1))

    assert 1 == await reads(publisher.redis)


async def test_a_change_is_seen(
    publisher: Publisher, valkey: Valkey, tmp_path: Path
) -> None:
    await publisher.write(a_program(1))
    async with a_directory(valkey.url, tmp_path) as directory:
        await stands(directory)
        assert a_program(1) == await directory.program(1)
        assert Missing.UNKNOWN is await directory.program(2)

        await publisher.publish(a_program(1, window=7))
        await publisher.publish(a_program(2))

        await becomes(directory, 1, a_program(1, window=7))
        await becomes(directory, 2, a_program(2))


async def test_a_change_of_everything_is_seen(
    publisher: Publisher, valkey: Valkey, tmp_path: Path
) -> None:
    await publisher.write(a_program(1))
    async with a_directory(valkey.url, tmp_path) as directory:
        await stands(directory)
        await directory.program(1)
        await publisher.write(a_program(1, window=7))
        await publisher.announce(EVERYTHING)

        await becomes(directory, 1, a_program(1, window=7))


async def test_what_changes_while_it_is_fetched_is_not_cached(
    publisher: Publisher, valkey: Valkey, tmp_path: Path
) -> None:
    await publisher.write(a_program(1))
    async with a_directory(valkey.url, tmp_path) as directory:
        await stands(directory)
        read, forgotten = directory._read, directory._invalidations

        async def overtaken(keys: tuple[str, ...]) -> list[object]:
            found = await read(keys)
            await publisher.publish(a_program(1, window=7))

            async def holds() -> bool:
                return directory._invalidations > forgotten

            await eventually(holds)
            return found

        directory._read = overtaken  # type: ignore[method-assign]
        assert a_program(1) == await directory.program(1)
        directory._read = read  # type: ignore[method-assign]

        assert a_program(1, window=7) == await directory.program(1)


async def test_a_record_that_comes_between_two_readers_is_there_once_announced(
    publisher: Publisher, valkey: Valkey, tmp_path: Path
) -> None:
    async with a_directory(valkey.url, tmp_path) as directory:
        await stands(directory)
        read, is_written = directory._read, asyncio.Event()

        async def before_and_after(keys: tuple[str, ...]) -> list[object]:
            # The first reads before, and hears of it after the second.
            found = await read(keys)
            if is_written.is_set():
                return found
            await publisher.write(a_program(1))
            is_written.set()
            assert a_program(1) == await directory.program(1)
            return found

        directory._read = before_and_after  # type: ignore[method-assign]
        assert Missing.UNKNOWN is await directory.program(1)
        directory._read = read  # type: ignore[method-assign]
        forgotten = directory._invalidations
        await publisher.announce(program_key(1))

        async def is_heard() -> bool:
            return directory._invalidations > forgotten

        await eventually(is_heard)
        assert a_program(1) == await directory.program(1)


async def test_nothing_is_cached_while_nobody_tells_of_changes(
    publisher: Publisher, valkey: Valkey, tmp_path: Path
) -> None:
    await publisher.write(a_program(1))
    nowhere = f"unix://{tmp_path / 'nobody'}"
    async with a_directory(valkey.url, tmp_path, nowhere) as directory:
        assert a_program(1) == await directory.program(1)
        await publisher.publish(a_program(1, window=7))

        assert a_program(1, window=7) == await directory.program(1)


async def test_changes_that_were_trimmed_unread_drop_everything(
    publisher: Publisher, valkey: Valkey, tmp_path: Path
) -> None:
    await publisher.write(a_program(1))
    async with a_directory(valkey.url, tmp_path) as directory:
        await stands(directory)
        await directory.program(1)
        async with publisher.redis.pipeline(transaction=True) as pipe:
            pipe.set(program_key(1), a_program(1, window=7).encode())
            pipe.xadd(CHANGES_KEY, {CHANGES_FIELD: program_key(1)})
            pipe.xadd(CHANGES_KEY, {CHANGES_FIELD: program_key(9)})
            pipe.xtrim(CHANGES_KEY, maxlen=1, approximate=False)
            await pipe.execute()

        await becomes(directory, 1, a_program(1, window=7))


async def test_an_emptied_server_drops_everything_and_denies_nothing(
    publisher: Publisher, valkey: Valkey, tmp_path: Path
) -> None:
    await publisher.write(a_program(1))
    async with a_directory(valkey.url, tmp_path) as directory:
        await stands(directory)
        await directory.program(1)
        await publisher.redis.flushdb()

        await becomes(directory, 1, Missing.UNAVAILABLE)

        await publisher.write(a_program(1, window=7))
        await publisher.begin()
        await becomes(directory, 1, a_program(1, window=7))
        await becomes(directory, 2, Missing.UNKNOWN)


async def test_a_record_of_another_shape_is_left_to_the_workers(
    publisher: Publisher, valkey: Valkey, tmp_path: Path
) -> None:
    async with a_directory(valkey.url, tmp_path) as directory:
        for junk in (b"no json", b"[]", b"{}", b'{"program_uuid":"x"}'):
            await publisher.redis.set(program_key(1), junk)
            assert Missing.UNAVAILABLE is await directory.program(1)
