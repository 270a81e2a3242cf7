"""What accepting relies on, of the fake sink, the stream alone, and stream and spool."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis

from ingest.contracts.placement.layout import Layout
from ingest.contracts.stream import FIELD, events_key, split
from ingest.contracts.variables import Variables
from ingest.core.values import Overloaded
from ingest.durable.degradation import Degradation
from ingest.durable.servers import one_server
from ingest.durable.sink import DurableSink
from ingest.durable.spool.directory import SpoolDirectory, contents, stores
from ingest.durable.spool.spool import Spool
from ingest.durable.stream import Stream
from ingest.redis_io.client import RedisBreaker, connect
from ingest.settings import Spooling
from tests.support.edge.fakes import MemorySink

SHARDS = 3


class Stage(Protocol):
    """A sink, what it holds, and its trouble."""

    sink: MemorySink | DurableSink

    async def entries(self) -> list[bytes]: ...
    async def fill_up(self) -> None: ...
    async def make_room(self) -> None: ...


class MemoryStage:
    def __init__(self) -> None:
        self.sink = MemorySink()

    async def entries(self) -> list[bytes]:
        return [payload for _, payload in self.sink.entries]

    async def fill_up(self) -> None:
        self.sink.is_full = True

    async def make_room(self) -> None:
        self.sink.is_full = False


class RedisStage:
    """The stream, and a spool of so many bytes."""

    def __init__(self, redis: Redis, root: Path, most_bytes: int) -> None:
        self._redis = redis
        self._limit: str | None = None
        self._root = root
        self.writes = RedisBreaker()
        self.stream = Stream(one_server(redis, Layout.at_home(SHARDS), self.writes))
        home = SpoolDirectory(root, lambda _: None)
        self.spool = Spool(home, most_bytes=most_bytes, clock=time.monotonic)
        spooling = Spooling.load(Variables({}))
        self.sink = DurableSink(
            self.stream,
            self.spool,
            Degradation(spooling),
            reach=RedisBreaker(),
            writes=self.writes,
        )

    async def entries(self) -> list[bytes]:
        streams = [await self._redis.xrange(events_key(shard)) for shard in range(3)]
        found = sorted(
            (entry for entries in streams for entry in entries), key=lambda e: e[0]
        )
        kept = [item for folder in stores(self._root) for item in contents(folder)]
        return [
            *(fields[FIELD] for _, fields in found),
            *(item.payload for item in kept),
        ]

    async def fill_up(self) -> None:
        # The server may be somebody's own, with a limit of its own.
        self._limit = str((await self._redis.config_get("maxmemory"))["maxmemory"])
        await self._redis.config_set("maxmemory", 1)

    async def make_room(self) -> None:
        self.writes.close()
        if self._limit is not None:
            await self._redis.config_set("maxmemory", self._limit)


class SpooledStage(RedisStage):
    """The stream is away from the beginning; there is room for one group or two."""

    def __init__(self, redis: Redis, root: Path) -> None:
        super().__init__(redis, root, 1 << 20)
        self.writes.trip("away")

    async def fill_up(self) -> None:
        self.spool.most_bytes = self.spool.bytes

    async def make_room(self) -> None:
        self.spool.most_bytes = 1 << 20


@pytest.fixture(params=["memory", "redis", "spool"])
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    if request.param == "memory":
        yield MemoryStage()
        return
    redis = connect(request.getfixturevalue("redis_url"), connections=4)
    stage = (
        RedisStage(redis, tmp_path, 0)
        if request.param == "redis"
        else SpooledStage(redis, tmp_path)
    )
    stage.spool.start()
    try:
        yield stage
    finally:
        await stage.make_room()
        await stage.stream.drain()
        await stage.spool.stop()
        await redis.aclose()


async def test_what_was_appended_is_there_at_once(stage: Stage) -> None:
    await stage.sink.append(uuid4(), b"one")

    assert [b"one"] == await stage.entries()


async def test_events_of_one_request_are_there_at_once(stage: Stage) -> None:
    events = [(uuid4(), b'{"n":%d}' % number) for number in range(100)]

    assert [None] * 100 == list(await stage.sink.append_together(events))

    kept = [event for entry in await stage.entries() for event in split(entry)]
    assert {payload for _, payload in events} == {*kept}
    assert 100 == len(kept)


async def test_without_room_no_event_of_a_request_is_accepted(stage: Stage) -> None:
    await stage.fill_up()

    problems = await stage.sink.append_together([(uuid4(), b"one"), (uuid4(), b"two")])

    assert [Overloaded, Overloaded] == [type(problem) for problem in problems]
    await stage.make_room()
    assert [] == await stage.entries()


async def test_one_event_may_be_appended_again(stage: Stage) -> None:
    event_id = uuid4()
    await stage.sink.append(event_id, b"one")
    await stage.sink.append(event_id, b"other")

    assert [b"one", b"other"] == await stage.entries()


async def test_without_room_nothing_is_accepted(stage: Stage) -> None:
    await stage.sink.append(UUID(int=1), b"one")
    await stage.fill_up()

    for _ in range(2):
        with pytest.raises(Overloaded):
            await stage.sink.append(UUID(int=2), b"two")
    with pytest.raises(Overloaded):
        stage.sink.admit()

    await stage.make_room()
    stage.sink.admit()
    await stage.sink.append(UUID(int=3), b"three")
    assert {b"one", b"three"} == {*await stage.entries()}
