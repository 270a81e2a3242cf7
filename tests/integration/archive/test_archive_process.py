"""Workers that archive, as processes: killed at any time, they lose nothing."""

import asyncio
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.stream import ARCHIVE_GROUP, FIELD, GROUP, epoch_key, events_key
from tests.support.directory import a_click
from tests.support.environment import inherited
from tests.support.eventually import eventually
from tests.support.servers.valkey import running_valkey
from tests.support.workers.archives import everything, payloads
from workers.archive.object_store.inventory import is_stored
from workers.archive.object_store.upload import upload_reports
from workers.archive.reader import problem, segments
from workers.redis_io.connections import for_jobs
from workers.stream.trimmer import Trimmer

ROOT = Path(__file__).resolve().parents[3]
SHARDS = 2


@dataclass
class Works:
    """A server, a database, an archive, and workers that come and go."""

    redis: Redis
    environment: Mapping[str, str]
    archive: Path
    sent: dict[bytes, None] = field(default_factory=dict)
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, **more: str) -> subprocess.Popen[bytes]:
        worker = subprocess.Popen(
            [sys.executable, "-m", "workers"],
            env={**self.environment, **more},
            cwd=ROOT,
            stderr=subprocess.DEVNULL,
        )
        self.workers.append(worker)
        return worker

    async def add(self, count: int) -> None:
        async with self.redis.pipeline(transaction=False) as pipe:
            for number in range(len(self.sent), len(self.sent) + count):
                payload = encode(a_click(number))
                self.sent[payload] = None
                pipe.xadd(events_key(number % SHARDS), {FIELD: payload})
            await pipe.execute()

    async def is_settled(self) -> bool:
        """Whether everything is recorded and archived."""
        for shard in range(SHARDS):
            groups = {
                group["name"]: group
                for group in await self.redis.xinfo_groups(events_key(shard))
            }
            last = (await self.redis.xinfo_stream(events_key(shard)))[
                "last-generated-id"
            ]
            for name in (GROUP, ARCHIVE_GROUP):
                group = groups.get(name.encode())
                if group is None or group["pending"]:
                    return False
                if group["last-delivered-id"] != last:
                    return False
        return True

    async def trim(self) -> int:
        return await Trimmer(self.redis, range(SHARDS), 0).trim()

    def check(self) -> None:
        """Everything is there, in order, and as it was written."""
        kept = everything(self.archive)
        assert set(self.sent) == set(payloads(kept))
        for segment in segments(self.archive):
            assert problem(self.archive, segment) is None


@pytest.fixture
def url() -> Iterator[str]:
    with running_valkey() as server:
        yield server.url


@pytest.fixture
async def works(url: str, database_url: str, tmp_path: Path) -> AsyncIterator[Works]:
    environment = {
        **inherited(),
        "REDIS_URL": url,
        "DATABASE_URL": database_url,
        "REFTIDE_DATA": str(tmp_path),
        "REFTIDE_SHARDS": str(SHARDS),
        "REFTIDE_WORKER_NAME": "w1",
        "REFTIDE_ARCHIVE": str(tmp_path / "archive"),
        "REFTIDE_ARCHIVE_SECONDS": "1",
    }
    async with for_jobs(url) as redis:
        found = Works(redis, environment, tmp_path / "archive")
        yield found
    for worker in found.workers:
        worker.kill()
        worker.wait()


async def test_everything_is_archived_and_sigterm_ends_it_well(works: Works) -> None:
    await works.add(100)
    worker = works.start(REFTIDE_ARCHIVE_SECONDS="3600")

    async def is_collected() -> bool:
        pending = 0
        for shard in range(SHARDS):
            if await works.redis.exists(epoch_key(shard)):
                for group in await works.redis.xinfo_groups(events_key(shard)):
                    if group["name"] == ARCHIVE_GROUP.encode():
                        pending += group["pending"]
        return pending == 100

    await eventually(is_collected)
    worker.send_signal(signal.SIGTERM)
    assert 0 == worker.wait(10)

    assert await works.is_settled()
    works.check()
    assert not await works.redis.exists("{rt:0}:archiver")


@pytest.mark.parametrize("boundary", ["collected", "archived"])
async def test_a_worker_killed_at_a_boundary_loses_nothing(
    works: Works, boundary: str
) -> None:
    await works.add(100)
    worker = works.start(REFTIDE_CRASH_AT=boundary)
    assert -signal.SIGKILL == worker.wait(20)
    await works.trim()
    await works.add(50)

    works.start()
    await eventually(works.is_settled)

    works.check()


async def test_a_store_that_is_not_there_holds_nothing_up(
    works: Works, tmp_path: Path
) -> None:
    bucket = tmp_path / "bucket"
    await works.add(100)
    worker = works.start(REFTIDE_ARCHIVE_STORE=f"file://{bucket}")

    await eventually(works.is_settled)
    # Somewhat more than what nobody has read goes last.
    assert await works.trim() >= 98
    (failing,) = await told_of_uploads(works, lambda each: each["why"])
    bucket.mkdir()
    await eventually(lambda: is_uploaded(works, bucket))
    (well,) = await told_of_uploads(works, lambda each: not each["waiting"])
    worker.send_signal(signal.SIGTERM)
    assert 0 == worker.wait(10)

    assert set(works.sent) == set(payloads(everything(bucket)))
    assert (SHARDS, f"file://{bucket} does not exist") == (
        failing["waiting"],
        failing["why"],
    )
    assert failing["store"] == f"file://{bucket}"
    assert failing["archive"].endswith(f":{works.archive}")
    assert failing["oldest_seconds"] >= 0 <= failing["failing_seconds"]
    names = ("waiting", "oldest_seconds", "failing_seconds", "why")
    assert [0, None, None, None] == [well[name] for name in names]


async def told_of_uploads(
    works: Works, is_so: Callable[[Mapping[str, Any]], object]
) -> Sequence[Mapping[str, Any]]:
    """What the worker says, once all of it is so."""
    found: list[Mapping[str, Any]] = []

    async def is_told() -> bool:
        found[:] = await upload_reports(works.redis, ["w1"])
        return bool(found) and all(map(is_so, found))

    await eventually(is_told)
    return found


async def test_a_worker_killed_between_upload_and_note_loses_nothing(
    works: Works, tmp_path: Path
) -> None:
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    store = f"file://{bucket}"
    await works.add(100)
    worker = works.start(REFTIDE_ARCHIVE_STORE=store, REFTIDE_CRASH_AT="uploaded")
    assert -signal.SIGKILL == worker.wait(20)
    first = {path: path.stat().st_mtime_ns for path in bucket.rglob("*.zst")}
    assert first

    works.start(REFTIDE_ARCHIVE_STORE=store)
    await eventually(lambda: is_uploaded(works, bucket))

    assert set(works.sent) == set(payloads(everything(bucket)))
    # What was there already was not put there again.
    assert first == {path: path.stat().st_mtime_ns for path in first}


async def is_uploaded(works: Works, bucket: Path) -> bool:
    """Whether everything is archived, and all segments are noted as being in the store."""
    if not await works.is_settled():
        return False
    found = list(segments(works.archive))
    return bool(found) and all(is_stored(works.archive, each.key) for each in found)


async def test_workers_killed_again_and_again_lose_nothing_that_is_trimmed(
    works: Works,
) -> None:
    chance = random.Random(42)  # noqa: S311 -- hides nothing
    trimmed = 0
    for _ in range(5):
        await works.add(400)
        worker = works.start()
        await eventually(lambda: is_read(works))
        await asyncio.sleep(chance.uniform(0, 2.0))
        worker.kill()
        worker.wait()
        trimmed += await works.trim()

    works.start()
    await eventually(works.is_settled)

    works.check()
    assert trimmed + await works.trim() > 1000


async def is_read(works: Works) -> bool:
    """Whether the archive was given something in its shard."""
    if not await works.redis.exists(epoch_key(0)):
        return False
    groups = await works.redis.xinfo_groups(events_key(0))
    return any(
        group["name"] == ARCHIVE_GROUP.encode() and group["pending"] for group in groups
    )
