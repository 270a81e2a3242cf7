"""Disks that are full, slow or hung while the stream takes nothing."""

import asyncio
import errno
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

import pytest
from structlog.testing import capture_logs
from typing_extensions import override

from ingest.core.values import Overloaded
from ingest.durable.degradation import Level
from ingest.durable.spool import directory as home_module
from ingest.durable.spool.files import OsFiles
from ingest.durable.spool.spool import SpoolFailed
from tests.conftest import DISK_WAIT
from tests.support.edge.sinks import SHARDS, Edge, an_edge
from tests.support.eventually import eventually
from tests.support.servers.valkey import Valkey


@pytest.fixture(autouse=True)
def impatient_edges(
    monkeypatch: pytest.MonkeyPatch, patient_edges: Mapping[str, float]
) -> None:
    """They wait for their disk as long as they do outside tests."""
    monkeypatch.setattr(DISK_WAIT, patient_edges[DISK_WAIT])


class FullDisk(OsFiles):
    @override
    def write(self, path: Path, start: int, raw: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


async def test_a_full_disk_is_an_answer_and_said_once(
    valkey: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(valkey.kill)
    monkeypatch.setattr(home_module, "OS_FILES", FullDisk())
    with capture_logs() as logs:
        async with an_edge(valkey.url, tmp_path) as edge:
            for number in range(21):
                with pytest.raises(Overloaded, match="No space left"):
                    await edge.sink.append(UUID(int=number), b"x")
            assert Level.REFUSE is edge.sink.standing.level
            monkeypatch.setattr(home_module, "OS_FILES", OsFiles())
            edge.spool._own = None
            await eventually(lambda: takes_events(edge))
            await edge.append(7)
            assert [7] == await edge.spooled()
    assert 1 == sum(line["event"] == "spool.failed" for line in logs)


async def test_who_cannot_spool_goes_back_to_the_stream_at_once(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def probes_needed(edge: Edge) -> int:
        edge.reach.trip("slow")
        count = 0
        while edge.reach.is_open:
            await edge.watch.probe("edge", range(SHARDS), 0, {})
            count += 1
        return count

    monkeypatch.setattr(home_module, "OS_FILES", FullDisk())
    edge = Edge(redis_url, tmp_path, {})
    edge.spool.start()
    assert [1, 2, 4] == [await probes_needed(edge) for _ in range(3)]
    with pytest.raises(SpoolFailed):
        await edge.spool.append(UUID(int=1), b"x")

    assert 1 == await probes_needed(edge)

    await edge.spool.stop()
    await edge.stream.drain()
    await edge.redis.aclose()
    await edge.probes.aclose()


async def takes_events(edge: Edge) -> bool:
    return edge.sink.standing.level is Level.SPOOL


class SlowDisk(OsFiles):
    """Each write takes 0.6 s."""

    @override
    def write(self, path: Path, start: int, raw: bytes) -> None:
        threading.Event().wait(0.6)
        super().write(path, start, raw)


async def test_a_slow_disk_makes_clients_wait_and_refuses_nobody(
    valkey: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(valkey.kill)
    monkeypatch.setattr(home_module, "OS_FILES", SlowDisk())
    with capture_logs() as logs:
        async with an_edge(valkey.url, tmp_path) as edge, asyncio.TaskGroup() as tasks:
            # Each comes while the write before the one before it is under way.
            for number in range(12):
                tasks.create_task(edge.append(number))
                await asyncio.sleep(0.2)

    assert list(range(12)) == await edge.spooled()
    levels = [line["to"] for line in logs if line["event"] == "edge.level"]
    assert ["spool"] == levels


async def test_a_loop_that_lags_is_not_taken_for_a_slow_disk(
    valkey: Valkey, tmp_path: Path
) -> None:
    await asyncio.to_thread(valkey.kill)
    async with an_edge(valkey.url, tmp_path) as edge:
        appending = asyncio.create_task(edge.append(1))
        while edge.spool._appends._queue.empty():
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        # Something else holds the loop; meanwhile the thread writes.
        hold_the_loop(1.5)
        await appending

        assert [1] == await edge.spooled()


def hold_the_loop(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


class HungDisk(OsFiles):
    def __init__(self) -> None:
        self.is_free = threading.Event()

    @override
    def write(self, path: Path, start: int, raw: bytes) -> None:
        self.is_free.wait(20)
        super().write(path, start, raw)


async def test_a_disk_that_hangs_is_given_up_and_blocks_nobody(
    valkey: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(valkey.kill)
    disk = HungDisk()
    monkeypatch.setattr(home_module, "OS_FILES", disk)
    async with an_edge(valkey.url, tmp_path) as edge:
        waits = []
        for number in range(21):
            began = time.monotonic()
            with pytest.raises(Overloaded, match="too slow"):
                await edge.sink.append(UUID(int=number), b"%d" % number)
            waits.append(time.monotonic() - began)
        disk.is_free.set()

        # If each of them waited as the first one does, it were more than 20.
        assert sum(waits) < 10
        await eventually(lambda: takes_events(edge))
