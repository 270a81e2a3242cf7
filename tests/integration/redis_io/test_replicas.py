"""Appends that replicas have to confirm: a real primary and its real replica."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from ingest.contracts.placement.layout import Layout
from ingest.contracts.variables import Replicas
from ingest.durable.degradation import Level
from ingest.durable.servers import one_server
from ingest.durable.stream import AppendFailed, PendingAppend, Stream
from ingest.redis_io.client import RedisBreaker, connect
from tests.support.edge.sinks import an_edge, streamed
from tests.support.eventually import eventually
from tests.support.servers.valkey import Valkey, running_valkey

SHARDS = 2
#: No answer takes longer, outages included.
MOST_SECONDS = 5.0


class Pair(NamedTuple):
    """A primary and what follows it."""

    primary: Valkey
    replica: Valkey


@contextmanager
def a_pair(*, has_file: bool = True) -> Iterator[Pair]:
    with ExitStack() as stack:
        primary = stack.enter_context(running_valkey(port=True))
        replica = stack.enter_context(running_valkey(port=True))
        if not has_file:
            replica.configure("appendonly", "no")
        replica.follow(primary)
        yield Pair(primary, replica)


@pytest.fixture
def pair() -> Iterator[Pair]:
    with a_pair() as found:
        yield found


@asynccontextmanager
async def a_stream(url: str, replicas: Replicas) -> AsyncIterator[Stream]:
    redis = connect(url, connections=4)
    stream = Stream(one_server(redis, Layout.at_home(SHARDS), RedisBreaker(), replicas))
    yield stream
    await stream.drain()
    await redis.aclose()


async def test_what_was_answered_is_on_the_replica_when_the_primary_dies(
    pair: Pair,
) -> None:
    answered: list[int] = []

    async def append(number: int) -> None:
        try:
            await stream.append(UUID(int=number), b"%d" % number)
        except AppendFailed:
            return
        answered.append(number)

    async def are_some_answered() -> bool:
        return len(answered) >= 500

    async with a_stream(pair.primary.url, Replicas(1)) as stream:
        async with asyncio.TaskGroup() as tasks:
            for number in range(4_000):
                tasks.create_task(append(number))
                if number % 40 == 0:
                    await asyncio.sleep(0)
                if number == 2_000:
                    await eventually(are_some_answered)
            await asyncio.to_thread(pair.primary.kill)
        pair.replica.follow(None)

    there = await streamed(pair.replica.url)
    assert 500 <= len(answered)
    assert {*answered} <= {*there}


async def test_each_way_to_append_waits_for_the_replica(pair: Pair) -> None:
    events = [PendingAppend(UUID(int=n), b"%d" % n) for n in range(10)]
    settled: list[str | None] = []
    async with a_stream(pair.primary.url, Replicas(1)) as stream:
        assert [None] * 10 == [*await stream.append_each(events)]
        for event_id, payload in events:
            assert stream.offer(event_id.bytes, payload, settled.append)

        async def are_settled() -> bool:
            return len(settled) == len(events)

        await eventually(are_settled)

    assert {None} == {*settled}
    pair.primary.kill()
    pair.replica.follow(None)
    assert sorted([*range(10), *range(10)]) == sorted(await streamed(pair.replica.url))


@pytest.mark.hasty
async def test_an_edge_whose_replica_is_frozen_goes_over_to_its_disk_and_says_why(
    pair: Pair, tmp_path: Path
) -> None:
    took: list[float] = []

    async def timed(edge_append: asyncio.Task[None], began: float) -> None:
        await edge_append
        took.append(time.monotonic() - began)

    async with an_edge(pair.primary.url, tmp_path, REFTIDE_REPLICAS="1") as edge:
        await edge.append(*range(100))
        assert Level.STREAM is edge.sink.standing.level
        assert [] == await edge.spooled()
        pair.replica.freeze()
        with capture_logs() as logs:
            async with asyncio.TaskGroup() as tasks:
                for number in range(100, 600):
                    begun = tasks.create_task(edge.append(number))
                    tasks.create_task(timed(begun, time.monotonic()))
                    await asyncio.sleep(0.002)
        level, why = edge.sink.standing

        assert (Level.SPOOL, "0 of 1 replicas confirmed it") == (level, why)
        assert max(took) < MOST_SECONDS
        [said] = [line for line in logs if line["event"] == "edge.level"]
        assert ("spool", why) == (said["to"], said["why"])
        pair.replica.thaw()
        await eventually(edge.is_drained)

    assert {*range(600)} == {*await streamed(pair.primary.url)}


@pytest.mark.hasty
async def test_too_few_replicas_are_none(pair: Pair, tmp_path: Path) -> None:
    async with an_edge(pair.primary.url, tmp_path, REFTIDE_REPLICAS="2") as edge:

        async def is_refused() -> bool:
            return edge.sink.standing.level is Level.SPOOL

        await eventually(is_refused)
        await edge.append(1)

        assert "1 of 2 replicas confirmed it" == edge.sink.standing.why
        assert [1] == await edge.spooled()


@pytest.mark.hasty
@pytest.mark.parametrize("has_file", [True, False])
async def test_only_replicas_with_a_file_say_that_they_wrote_it(
    *, has_file: bool
) -> None:
    synced = Replicas(1, is_synced=True)
    with a_pair(has_file=has_file) as pair:
        async with a_stream(pair.primary.url, synced) as stream:

            async def problem() -> str | None:
                [found] = await stream.append_each([PendingAppend(UUID(int=1), b"1")])
                return found

            async def is_written() -> bool:
                # One that has just begun to follow writes its first file.
                return await problem() is None

            if has_file:
                await eventually(is_written)
            else:
                assert "0 of 1 replicas wrote it to disk" == await problem()


@pytest.mark.hasty
async def test_what_a_replica_did_not_confirm_is_counted_as_appended(
    pair: Pair,
) -> None:
    async with a_stream(pair.primary.url, Replicas(2)) as stream:
        stream.appended.set_epochs({0: 1, 1: 2})
        with pytest.raises(AppendFailed, match="1 of 2 replicas"):
            await stream.append(UUID(int=0), b"0")

        assert {"1": 1} == stream.appended.by_epoch()
        assert 0 == sum(stream.appended.unanswered.values())


async def test_a_demoted_primary_is_left_at_once(pair: Pair) -> None:
    async with a_stream(pair.primary.url, Replicas()) as stream:
        await stream.append(UUID(int=0), b"0")
        before = pair.primary.connections()
        pair.replica.follow(None)
        pair.primary.follow(pair.replica)
        with pytest.raises(AppendFailed, match="read only"):
            await stream.append(UUID(int=0), b"0")

        async def has_left() -> bool:
            return pair.primary.connections() < before

        await eventually(has_left)
