"""What an edge knows while Redis is away, and after a restart without it."""

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ingest.contracts.directory import (
    EMAIL_KEY,
    EVERYTHING,
    GENERATION_KEY,
    LIMITS_KEY,
    LimitsRecord,
    program_key,
)
from ingest.contracts.emails.key import EmailKey
from ingest.core.values import Missing
from ingest.directory import replica
from ingest.directory.cache import read_snapshot
from tests.support.edge.directories import (
    Publisher,
    a_directory,
    a_program,
    becomes,
    eventually,
    stands,
)
from tests.support.servers.valkey import Valkey
from tests.support.workers.emails import KEY


async def _left_alone(
    publisher: Publisher, valkey: Valkey, folder: Path, *asked: int
) -> None:
    """There is program 1. A run asks for these programs and ends; then the server goes."""
    await publisher.write(a_program(1))
    async with a_directory(valkey.url, folder) as directory:
        await stands(directory)
        for number in asked:
            await directory.program(number)
    await asyncio.to_thread(valkey.kill)


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


async def test_after_a_restart_without_server_the_last_run_is_remembered(
    publisher: Publisher, valkey: Valkey, tmp_path: Path
) -> None:
    await _left_alone(publisher, valkey, tmp_path, 1, 2)

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
    await _left_alone(publisher, valkey, tmp_path, 1)

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
