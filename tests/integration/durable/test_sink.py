"""Stream first, disk second, as the edge's parts are put together."""

import asyncio
import errno
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs
from typing_extensions import override
from uuid_utils.compat import uuid7

from ingest.contracts.stream import EDGES_KEY, FIELD, GROUP, edge_key, events_key
from ingest.contracts.variables import Variables
from ingest.core.values import Overloaded
from ingest.durable.degradation import Degradation, Level, Pressure
from ingest.durable.drain import Drainer
from ingest.durable.edge_clock import EdgeClock, unix_ms
from ingest.durable.pressure import pressure
from ingest.durable.probe import Breakers, RedisProbe
from ingest.durable.sink import Sink
from ingest.durable.spool import directory as home_module
from ingest.durable.spool.directory import SpoolDirectory, contents, stores
from ingest.durable.spool.files import OsFiles
from ingest.durable.spool.spool import Spool, SpoolFailed
from ingest.durable.stream import Stream
from ingest.redis_io.client import RedisBreaker, connect
from ingest.settings import Spooling
from tests.support.eventually import eventually
from tests.support.servers.valkey import Valkey, running_valkey

SHARDS = 2


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running_valkey() as server:
        yield server


@dataclass
class Edge:
    """All that `app` puts around a sink."""

    url: str
    root: Path
    variables: dict[str, str]
    name: str = "edge"

    def __post_init__(self) -> None:
        spooling = Spooling.load(Variables(self.variables))
        self.reach, self.writes = RedisBreaker(), RedisBreaker()
        self.redis = connect(self.url, connections=4, breaker=self.reach)
        self.probes = connect(self.url, connections=1)
        self.stream = Stream(self.redis, SHARDS, self.writes)
        self.spool = Spool(
            SpoolDirectory(self.root, lambda _: None),
            most_bytes=spooling.most_bytes,
            clock=time.monotonic,
        )
        degradation = Degradation(spooling)
        self.sink = Sink(
            self.stream,
            self.spool,
            degradation,
            reach=self.reach,
            writes=self.writes,
        )
        self.drainer = Drainer(
            self.spool,
            self.stream,
            lambda: self.sink.standing.level,
            spooling.drain_rate,
        )
        self.watch = RedisProbe(
            self.probes,
            breakers=Breakers(self.reach, self.writes),
            degradation=degradation,
            appended=self.stream.appended,
            clock=EdgeClock(unix_ms, uuid7),
            can_spool=lambda: self.spool.problem is None,
        )

    def start(self) -> None:
        self.spool.start()
        self.drainer.start()
        self.watch.start(
            self.name,
            SHARDS,
            lambda: {"level": self.sink.standing.level},
        )

    async def stop(self) -> None:
        await self.drainer.stop()
        await self.watch.stop()
        await self.stream.drain()
        await self.spool.stop()
        await self.redis.aclose()
        await self.probes.aclose()

    async def append(self, *numbers: int) -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in numbers:
                tasks.create_task(self.sink.append(UUID(int=number), b"%d" % number))

    async def spooled(self) -> list[int]:
        return await asyncio.to_thread(kept_in, self.root)

    async def is_drained(self) -> bool:
        return not await self.spooled() and self.sink.standing.level is Level.STREAM


def kept_in(root: Path) -> list[int]:
    return [int(item.payload) for folder in stores(root) for item in contents(folder)]


@asynccontextmanager
async def an_edge(url: str, root: Path, **variables: str) -> AsyncIterator[Edge]:
    edge = Edge(url, root, variables)
    edge.start()
    yield edge
    await edge.stop()


async def streamed(url: str) -> list[int]:
    """The events in the streams, each shard's in its order."""
    async with Redis.from_url(url) as redis:
        shards = [await redis.xrange(events_key(shard)) for shard in range(SHARDS)]
    return [int(fields[FIELD]) for shard in shards for _, fields in shard]


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

        assert took < 2
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
            for number in range(3):
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
            await edge.watch.probe("edge", SHARDS, 0, {})
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
        for number in range(3):
            began = time.monotonic()
            with pytest.raises(Overloaded, match="too slow"):
                await edge.sink.append(UUID(int=number), b"%d" % number)
            waits.append(time.monotonic() - began)
        disk.is_free.set()

        assert waits[0] < 2
        assert max(waits[1:]) < 0.5
        await eventually(lambda: takes_events(edge))


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
        assert Pressure(None, 0, 0.0) == await pressure(redis, SHARDS)
        seconds, _ = await redis.time()
        for number in range(4):
            at = f"{(seconds - 100) * 1000 + number}-0"
            await redis.xadd(events_key(0), {"e": "x"}, id=at)
        without_group = await pressure(redis, SHARDS)

        await redis.xgroup_create(events_key(0), GROUP, id="0")
        undelivered = await pressure(redis, SHARDS)
        read = await redis.xreadgroup(GROUP, "one", {events_key(0): ">"}, count=3)
        await redis.config_set("maxmemory", "1gb")
        pending = await pressure(redis, SHARDS)
        await redis.xack(events_key(0), GROUP, *(entry for entry, _ in read[0][1]))
        acknowledged = await pressure(redis, SHARDS)
        await redis.xreadgroup(GROUP, "one", {events_key(0): ">"}, noack=True)
        at_rest = await pressure(redis, SHARDS)

    felt = (without_group, undelivered, pending, acknowledged)
    assert [4, 4, 4, 1] == [one.unread for one in felt]
    assert all(99 <= (one.age or 0) < 130 for one in felt)
    assert (None, True) == (undelivered.memory, 0 < (pending.memory or 0) < 50)
    assert (0, 0.0) == (at_rest.unread, at_rest.age)
