"""The consumer when something fails: a batch is kept, tried again, or left to others."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from tests.support.eventually import eventually
from tests.support.workers.consuming import (
    Recorder,
    acknowledged,
    add,
    consuming,
    counted,
    has,
    is_so,
    left_pending_by,
    pending,
)
from workers.model.batch import Delivery, TransientError
from workers.redis_io.connections import for_jobs, for_reader
from workers.stream.consumer import Consumer
from workers.stream.shard import ReaderConfig, ShardReader


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with for_jobs(redis_url) as client:
        yield client


class _Unheard(ShardReader):
    """A shard whose acknowledgements get lost, some of them."""

    losses = 3

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        if self.losses:
            self.losses -= 1
            raise TransientError("the acknowledgement got lost")
        await super().ack(deliveries)


async def test_acknowledgements_that_get_lost_are_tried_less_and_less_often(
    redis_url: str, redis: Redis
) -> None:
    await add(redis, b"a")
    config, stop, pauses = (
        ReaderConfig(name="one", block_ms=50),
        asyncio.Event(),
        list[int](),
    )

    def pause(attempt: int) -> float:
        pauses.append(attempt)
        return 0.01

    async with for_reader(redis_url) as client, asyncio.TaskGroup() as group:
        shard = _Unheard(client, 0, config, counted())
        consumer = Consumer([shard], Recorder(), config, stop=stop, pause=pause)
        group.create_task(consumer.run())
        await eventually(acknowledged(redis))
        stop.set()

    assert [1, 2, 3] == pauses


async def test_trouble_keeps_the_batch_and_tries_it_again(
    redis_url: str, redis: Redis
) -> None:
    await add(redis, b"a", b"b")
    failures = iter([TransientError("down"), TransientError("still down")])

    def refuse_twice(deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        if failure := next(failures, None):
            raise failure
        return deliveries

    recorder = Recorder(refuse_twice)

    with capture_logs() as logs:
        async with consuming(redis_url, recorder):
            await eventually(acknowledged(redis))

    assert [b"a", b"b"] == recorder.payloads
    assert [recorder.batches[0]] * 3 == recorder.batches
    assert ["down"] == [
        line["cause"] for line in logs if line["event"] == "batch.delayed"
    ]


async def test_a_batch_that_waits_does_not_look_abandoned(
    redis_url: str, redis: Redis
) -> None:
    await add(redis, b"a")
    recorder = Recorder(_refuse)
    longest = 0

    async def idle_time_fell() -> bool:
        nonlocal longest
        found = await pending(redis)
        idle = found[0]["time_since_delivered"] if found else 0
        longest = max(longest, idle)
        return bool(idle < longest)

    async with consuming(redis_url, recorder, reclaim_after=0.6):
        await eventually(lambda: is_so(bool(recorder.batches)))
        await eventually(idle_time_fell)

    assert [1] == [each["times_delivered"] for each in await pending(redis)]


async def test_stopping_leaves_a_batch_that_cannot_be_recorded_pending(
    redis_url: str, redis: Redis
) -> None:
    await add(redis, b"a")
    recorder = Recorder(_refuse)

    async with consuming(redis_url, recorder):
        await eventually(lambda: is_so(bool(recorder.batches)))

    assert [b"one"] == [each["consumer"] for each in await pending(redis)]


async def test_what_is_not_given_back_stays_pending(
    redis_url: str, redis: Redis
) -> None:
    await add(redis, b"newer", b"a")
    recorder = Recorder(lambda given: [each for each in given if each.payload == b"a"])

    async with consuming(redis_url, recorder):
        await eventually(has(recorder, b"a"))

    async with consuming(redis_url, recorder):
        await add(redis, b"a")
        await eventually(has(recorder, b"a", b"a"))

    assert 1 == len(await pending(redis))


async def test_what_nobody_here_can_process_is_looked_at_less_and_less_often(
    redis_url: str, redis: Redis
) -> None:
    await left_pending_by(redis, "another", b"newer")
    looked: list[float] = []

    def leave(given: Sequence[Delivery]) -> Sequence[Delivery]:
        if any(each.payload == b"newer" for each in given):
            looked.append(asyncio.get_running_loop().time())
        return [each for each in given if each.payload != b"newer"]

    recorder = Recorder(leave)
    config = {"reclaim_after": 0.001, "reclaim_every": 0.05, "block_ms": 10}

    async with consuming(redis_url, recorder, **config):
        await eventually(lambda: is_so(len(looked) > 4))
        # Nothing else waits for it.
        await add(redis, b"a")
        await eventually(has(recorder, b"a"))

    gaps = [later - earlier for earlier, later in pairwise(looked[-4:])]
    assert gaps == sorted(gaps)
    assert gaps[0] > 0.1


async def test_a_bug_in_the_processor_ends_the_consumer(
    redis_url: str, redis: Redis
) -> None:
    await add(redis, b"a")

    def break_down(_: Sequence[Delivery]) -> Sequence[Delivery]:
        raise ZeroDivisionError

    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        async with consuming(redis_url, Recorder(break_down)):
            await asyncio.Event().wait()


def _refuse(_: Sequence[Delivery]) -> Sequence[Delivery]:
    raise TransientError("down")
