import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from ingest.contracts.directory import (
    CHANGES_FIELD,
    CHANGES_KEY,
    EMAIL_KEY,
    EVERYTHING,
    GENERATION_KEY,
    LIMITS_KEY,
    LimitsRecord,
    ProgramRecord,
    program_key,
)
from ingest.contracts.emails.key import EmailKey
from ingest.core.values import Missing
from ingest.directory import replica
from ingest.directory.cache import read_snapshot
from ingest.directory.lookup import Directory
from ingest.redis_io.client import connect
from tests.support.servers.valkey import Valkey, running_valkey
from tests.support.workers.emails import KEY


def a_program(number: int, window: int = 60) -> ProgramRecord:
    return ProgramRecord(
        program_uuid=UUID(int=number),
        workspace_uuid=UUID(int=1),
        number=number,
        cookie_window_days=window,
    )


class Publisher:
    """Writes the directory as workers do."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis

    async def write(self, record: ProgramRecord) -> None:
        await self.redis.set(program_key(record.number), record.encode())

    async def announce(self, key: str) -> None:
        await self.redis.xadd(CHANGES_KEY, {CHANGES_FIELD: key})

    async def publish(self, record: ProgramRecord) -> None:
        await self.write(record)
        await self.announce(program_key(record.number))

    async def begin(self) -> None:
        await self.redis.set(GENERATION_KEY, "1")
        await self.announce(EVERYTHING)


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running_valkey() as server:
        yield server


@pytest.fixture
async def publisher(valkey: Valkey) -> AsyncIterator[Publisher]:
    redis = connect(valkey.url, connections=2)
    made = Publisher(redis)
    await made.begin()
    yield made
    await redis.aclose()


@asynccontextmanager
async def a_directory(
    url: str, path: Path, changes_url: str | None = None
) -> AsyncIterator[Directory]:
    redis = connect(url, connections=4)
    changes = connect(changes_url or url, connections=1, answer_within=1)
    directory = Directory(redis, changes, path / "snapshot")
    directory.start()
    try:
        yield directory
    finally:
        await directory.stop()
        await redis.aclose()
        await changes.aclose()


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await holds():
            await asyncio.sleep(0.01)


async def stands(directory: Directory) -> None:
    async def holds() -> bool:
        return directory._listener.is_current

    await eventually(holds)


async def becomes(
    directory: Directory, number: int, expected: ProgramRecord | Missing
) -> None:
    async def holds() -> bool:
        return await directory.program(number) == expected

    await eventually(holds)


async def gets(redis: Redis) -> int:
    stats = await redis.info("commandstats")
    return int(stats.get("cmdstat_get", {"calls": 0})["calls"])


async def test_what_is_cached_costs_no_round_trip(
    publisher: Publisher, valkey: Valkey, tmp_path: Path
) -> None:
    await publisher.write(a_program(1))
    async with a_directory(valkey.url, tmp_path) as directory:
        await stands(directory)
        for _ in range(10):
            assert a_program(1) == await directory.program(1)
            assert Missing.UNKNOWN is await directory.program(2)

    assert 2 == await gets(publisher.redis)


async def test_misses_at_the_same_time_ask_for_a_key_once(
    publisher: Publisher, valkey: Valkey, tmp_path: Path
) -> None:
    await publisher.write(a_program(1))
    async with a_directory(valkey.url, tmp_path) as directory:
        await stands(directory)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(200):
                tasks.create_task(directory.program(1))

    assert 1 == await gets(publisher.redis)


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

        async def overtaken(keys: list[str]) -> list[object]:
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

        async def before_and_after(keys: list[str]) -> list[object]:
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


@pytest.mark.hasty
async def test_while_the_server_is_frozen_what_is_cached_serves_on(
    publisher: Publisher, valkey: Valkey, tmp_path: Path
) -> None:
    await publisher.write(a_program(1))
    with capture_logs() as logs:
        async with a_directory(valkey.url, tmp_path) as directory:
            await stands(directory)
            await directory.program(1)
            valkey.freeze()
            async with asyncio.timeout(5):
                for _ in range(2):
                    assert a_program(1) == await directory.program(1)
                    assert Missing.UNAVAILABLE is await directory.program(2)
            valkey.thaw()
            await becomes(directory, 2, Missing.UNKNOWN)

            async def is_told() -> bool:
                return len(logs) > 1

            await eventually(is_told)

    events = [line["event"] for line in logs]
    assert ["directory.unavailable", "directory.recovered"] == events[:2]


async def test_changes_during_an_absence_are_seen_after_it(
    publisher: Publisher, valkey: Valkey, tmp_path: Path
) -> None:
    await publisher.write(a_program(1))
    async with a_directory(valkey.url, tmp_path) as directory:
        await stands(directory)
        await directory.program(1)
        await asyncio.to_thread(valkey.kill)
        assert a_program(1) == await directory.program(1)
        await asyncio.to_thread(valkey.start)
        await publisher.publish(a_program(1, window=7))

        await becomes(directory, 1, a_program(1, window=7))


async def test_a_record_of_another_shape_is_left_to_the_workers(
    publisher: Publisher, valkey: Valkey, tmp_path: Path
) -> None:
    async with a_directory(valkey.url, tmp_path) as directory:
        for junk in (b"no json", b"[]", b"{}", b'{"program_uuid":"x"}'):
            await publisher.redis.set(program_key(1), junk)
            assert Missing.UNAVAILABLE is await directory.program(1)


async def test_after_a_restart_without_server_the_last_run_is_remembered(
    publisher: Publisher, valkey: Valkey, tmp_path: Path
) -> None:
    await publisher.write(a_program(1))
    async with a_directory(valkey.url, tmp_path) as directory:
        await stands(directory)
        await directory.program(1)
        await directory.program(2)
    await asyncio.to_thread(valkey.kill)

    async with a_directory(valkey.url, tmp_path) as directory:
        assert a_program(1) == await directory.program(1)
        assert Missing.UNKNOWN is await directory.program(2)
        assert Missing.UNAVAILABLE is await directory.program(3)

        await asyncio.to_thread(valkey.start)
        await publisher.write(a_program(1, window=7))
        await becomes(directory, 1, a_program(1, window=7))


async def test_a_run_without_server_leaves_the_snapshot_alone(
    publisher: Publisher, valkey: Valkey, tmp_path: Path
) -> None:
    await publisher.write(a_program(1))
    async with a_directory(valkey.url, tmp_path) as directory:
        await stands(directory)
        await directory.program(1)
    await asyncio.to_thread(valkey.kill)

    async with a_directory(valkey.url, tmp_path):
        pass

    assert {program_key(1)} == {*read_snapshot(tmp_path / "snapshot")}


async def test_limits_that_operators_set_outlast_the_directory(
    publisher: Publisher, valkey: Valkey, tmp_path: Path
) -> None:
    raised = LimitsRecord(per_minute={"bio_re.address": 600})
    await publisher.redis.set(LIMITS_KEY, raised.encode())
    async with a_directory(valkey.url, tmp_path) as directory:
        await stands(directory)
        assert raised == await directory.limits()
        await publisher.redis.flushdb()
        await becomes(directory, 1, Missing.UNAVAILABLE)

        assert raised == await directory.limits()
        await asyncio.to_thread(valkey.kill)
        assert raised == await directory.limits()

        await asyncio.to_thread(valkey.start)
        await publisher.redis.delete(LIMITS_KEY)
        await publisher.begin()

        async def are_forgotten() -> bool:
            return await directory.limits() is Missing.UNKNOWN

        await eventually(are_forgotten)


async def test_an_edge_without_requests_knows_the_limits_after_its_restart(
    publisher: Publisher,
    valkey: Valkey,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replica, "_SNAPSHOT_SECONDS", 0.01)
    raised = LimitsRecord(per_minute={"bio_re.address": 600})
    await publisher.redis.set(LIMITS_KEY, raised.encode())
    async with a_directory(valkey.url, tmp_path):

        async def is_saved() -> bool:
            saved = read_snapshot(tmp_path / "snapshot")
            return saved.get(LIMITS_KEY) == raised.encode()

        await eventually(is_saved)
    await asyncio.to_thread(valkey.kill)

    async with a_directory(valkey.url, tmp_path) as directory:
        assert raised == await directory.limits()


async def test_the_email_key_is_known_without_requests_and_after_a_restart(
    publisher: Publisher,
    valkey: Valkey,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replica, "_SNAPSHOT_SECONDS", 0.01)
    await publisher.redis.set(EMAIL_KEY, KEY.encode())
    async with a_directory(valkey.url, tmp_path):

        async def is_saved() -> bool:
            saved = read_snapshot(tmp_path / "snapshot")
            return saved.get(EMAIL_KEY) == KEY.encode()

        await eventually(is_saved)
    await asyncio.to_thread(valkey.kill)

    async with a_directory(valkey.url, tmp_path) as directory:
        known = await directory.email_key()
        assert isinstance(known, EmailKey)
        assert KEY.hash("a@x.example") == known.hash("a@x.example")


async def test_an_edge_keeps_the_email_key_while_the_directory_is_published_anew(
    publisher: Publisher, valkey: Valkey, tmp_path: Path
) -> None:
    await publisher.redis.set(EMAIL_KEY, KEY.encode())
    async with a_directory(valkey.url, tmp_path) as directory:
        assert isinstance(await directory.email_key(), EmailKey)

        await publisher.redis.delete(EMAIL_KEY, GENERATION_KEY)
        await publisher.announce(EVERYTHING)

        async def is_dropped() -> bool:
            return directory.recall(EMAIL_KEY) is None

        await eventually(is_dropped)
        assert isinstance(await directory.email_key(), EmailKey)
