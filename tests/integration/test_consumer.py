"""The consumer against a real server: what is read, kept, acknowledged and given up."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from ingest.contracts.stream import FIELD, GROUP, epoch_key, events_key
from tests.eventually import eventually
from tests.valkey import running_valkey
from workers.batch import Delivery, Trouble
from workers.connections import REDIS_TROUBLE, for_jobs, for_reader
from workers.consumer import Consumer
from workers.shard import Habits, Shard

STREAM = events_key(0)


class Numbers:
    """Epochs counted from one."""

    def __init__(self) -> None:
        self.drawn = 0

    async def draw(self, shard: int) -> int:
        self.drawn += 1
        return self.drawn

    async def discard(self, epoch: int) -> None:
        return


class Recorder:
    """Remembers what it was given; `answer` may refuse, or give back less."""

    def __init__(
        self, answer: Callable[[Sequence[Delivery]], Sequence[Delivery]] = list
    ) -> None:
        self.batches: list[Sequence[Delivery]] = []
        self.settled: list[Delivery] = []
        self._answer = answer

    @property
    def payloads(self) -> list[bytes]:
        return [delivery.payload for delivery in self.settled]

    async def process(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        self.batches.append(deliveries)
        done = self._answer(deliveries)
        self.settled.extend(done)
        return done


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with for_jobs(redis_url) as client:
        yield client


@asynccontextmanager
async def consuming(
    url: str, processor: Recorder, *, shards: int = 1, **habits: Any
) -> AsyncIterator[Sequence[Shard]]:
    """Consume until the block ends; then everything in hand is settled or abandoned."""
    how = Habits(**{"name": "one", "block_ms": 50, **habits})
    registry = Numbers()
    clients = [for_reader(url) for _ in range(shards)]
    parts = [Shard(each, n, how, registry) for n, each in enumerate(clients)]
    stop = asyncio.Event()
    consumer = Consumer(parts, processor, how, stop=stop, pause=lambda _: 0.01)
    async with AsyncExitStack() as stack:
        for client in clients:
            stack.push_async_callback(client.aclose)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        group.create_task(consumer.run())
        try:
            yield parts
        finally:
            stop.set()


async def add(redis: Redis, *payloads: bytes, shard: int = 0) -> None:
    for payload in payloads:
        await redis.xadd(events_key(shard), {FIELD: payload})


async def pending(redis: Redis) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await redis.xpending_range(
        STREAM, GROUP, "-", "+", 100
    )
    return found


def acknowledged(redis: Redis) -> Callable[[], Any]:
    async def holds() -> bool:
        groups = await redis.xinfo_groups(STREAM)
        return bool(groups) and groups[0]["pending"] == 0 and groups[0]["lag"] == 0

    return holds


def has(recorder: Recorder, *payloads: bytes) -> Callable[[], Any]:
    async def holds() -> bool:
        return list(payloads) == recorder.payloads

    return holds


async def left_pending_by(redis: Redis, name: str, *payloads: bytes) -> None:
    """What a killed consumer leaves: entries it was given and did not acknowledge."""
    await redis.xgroup_create(STREAM, GROUP, "0", mkstream=True)
    await add(redis, *payloads)
    await redis.xreadgroup(GROUP, name, {STREAM: ">"})


async def test_what_was_written_before_the_first_worker_came_is_read(
    redis_url: str, redis: Redis
) -> None:
    await add(redis, b"a", b"b")
    recorder = Recorder()

    async with consuming(redis_url, recorder):
        await eventually(has(recorder, b"a", b"b"))
        await eventually(acknowledged(redis))

    assert {(1, 0)} == {
        (each.entry.epoch, each.entry.shard) for each in recorder.settled
    }


async def test_every_shard_is_read(redis_url: str, redis: Redis) -> None:
    recorder = Recorder()

    async with consuming(redis_url, recorder, shards=3):
        for shard in range(3):
            await add(redis, b"%d" % shard, shard=shard)
        await eventually(lambda: _true(3 == len(recorder.settled)))

    assert {0, 1, 2} == {delivery.entry.shard for delivery in recorder.settled}


async def test_a_batch_is_no_larger_than_wanted(redis_url: str, redis: Redis) -> None:
    await add(redis, b"a", b"b", b"c")
    recorder = Recorder()

    async with consuming(redis_url, recorder, batch_size=2):
        await eventually(has(recorder, b"a", b"b", b"c"))

    assert [2, 1] == [len(batch) for batch in recorder.batches]


async def test_a_worker_that_comes_back_gets_its_own_entries_first(
    redis_url: str, redis: Redis
) -> None:
    await left_pending_by(redis, "one", b"a", b"b")
    await add(redis, b"c")
    recorder = Recorder()

    async with consuming(redis_url, recorder, batch_size=1):
        await eventually(has(recorder, b"a", b"b", b"c"))
        await eventually(acknowledged(redis))


async def test_entries_of_a_worker_that_died_are_taken_over(
    redis_url: str, redis: Redis
) -> None:
    await left_pending_by(redis, "another", b"a", b"b", b"c")
    await asyncio.sleep(0.06)
    recorder = Recorder()

    async with consuming(redis_url, recorder, batch_size=2, reclaim_after=0.05):
        await eventually(has(recorder, b"a", b"b", b"c"))
        await eventually(acknowledged(redis))


async def test_entries_that_another_worker_has_in_hand_are_left_to_it(
    redis_url: str, redis: Redis
) -> None:
    await left_pending_by(redis, "another", b"a")
    recorder = Recorder()

    async with consuming(redis_url, recorder):
        await add(redis, b"b")
        await eventually(has(recorder, b"b"))

    assert [b"another"] == [each["consumer"] for each in await pending(redis)]


class _Unheard(Shard):
    """A shard whose acknowledgements get lost, some of them."""

    losses = 3

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        if self.losses:
            self.losses -= 1
            raise Trouble("the acknowledgement got lost")
        await super().ack(deliveries)


async def test_acknowledgements_that_get_lost_are_tried_less_and_less_often(
    redis_url: str, redis: Redis
) -> None:
    await add(redis, b"a")
    habits, stop, pauses = Habits(name="one", block_ms=50), asyncio.Event(), list[int]()

    def pause(attempt: int) -> float:
        pauses.append(attempt)
        return 0.01

    async with for_reader(redis_url) as client, asyncio.TaskGroup() as group:
        shard = _Unheard(client, 0, habits, Numbers())
        consumer = Consumer([shard], Recorder(), habits, stop=stop, pause=pause)
        group.create_task(consumer.run())
        await eventually(acknowledged(redis))
        stop.set()

    assert [1, 2, 3] == pauses


async def test_trouble_keeps_the_batch_and_tries_it_again(
    redis_url: str, redis: Redis
) -> None:
    await add(redis, b"a", b"b")
    failures = iter([Trouble("down"), Trouble("still down")])

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
        await eventually(lambda: _true(bool(recorder.batches)))
        await eventually(idle_time_fell)

    assert [1] == [each["times_delivered"] for each in await pending(redis)]


async def test_stopping_leaves_a_batch_that_cannot_be_recorded_pending(
    redis_url: str, redis: Redis
) -> None:
    await add(redis, b"a")
    recorder = Recorder(_refuse)

    async with consuming(redis_url, recorder):
        await eventually(lambda: _true(bool(recorder.batches)))

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
    habits = {"reclaim_after": 0.001, "reclaim_every": 0.05, "block_ms": 10}

    async with consuming(redis_url, recorder, **habits):
        await eventually(lambda: _true(len(looked) > 4))
        # Nothing else waits for it.
        await add(redis, b"a")
        await eventually(has(recorder, b"a"))

    gaps = [later - earlier for earlier, later in pairwise(looked[-4:])]
    assert gaps == sorted(gaps)
    assert gaps[0] > 0.1


async def test_entries_that_come_again_say_how_often(
    redis_url: str, redis: Redis
) -> None:
    await left_pending_by(redis, "one", b"a")
    await add(redis, b"b")
    recorder = Recorder()

    async with consuming(redis_url, recorder):
        await eventually(has(recorder, b"a", b"b"))

    assert [2, 1] == [delivery.times for delivery in recorder.settled]


async def test_a_bug_in_the_processor_ends_the_consumer(
    redis_url: str, redis: Redis
) -> None:
    await add(redis, b"a")

    def break_down(_: Sequence[Delivery]) -> Sequence[Delivery]:
        raise ZeroDivisionError

    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        async with consuming(redis_url, Recorder(break_down)):
            await asyncio.Event().wait()


async def test_a_group_that_went_away_is_made_again_with_a_warning(
    redis_url: str, redis: Redis
) -> None:
    recorder = Recorder()

    with capture_logs() as logs:
        async with consuming(redis_url, recorder):
            await add(redis, b"a")
            await eventually(acknowledged(redis))
            await redis.xgroup_destroy(STREAM, GROUP)
            await add(redis, b"b")
            await eventually(has(recorder, b"a", b"a", b"b"))

    created = [line for line in logs if line["event"] == "group.created"]
    assert ["info", "warning"] == [line["log_level"] for line in created]
    assert {1} == {delivery.entry.epoch for delivery in recorder.settled}


async def test_a_group_that_went_away_while_no_worker_ran_is_warned_of_too(
    redis_url: str, redis: Redis
) -> None:
    async with consuming(redis_url, Recorder()):
        await add(redis, b"a")
        await eventually(acknowledged(redis))
    await redis.xgroup_destroy(STREAM, GROUP)

    with capture_logs() as logs:
        async with consuming(redis_url, Recorder()):
            await eventually(acknowledged(redis))

    created = [line for line in logs if line["event"] == "group.created"]
    assert ["warning"] == [line["log_level"] for line in created]


async def test_an_emptied_server_starts_a_new_life(
    redis_url: str, redis: Redis
) -> None:
    recorder = Recorder()

    async with consuming(redis_url, recorder):
        await add(redis, b"a")
        await eventually(has(recorder, b"a"))
        await redis.flushdb()
        await add(redis, b"b")
        await eventually(has(recorder, b"a", b"b"))

    assert [1, 2] == [delivery.entry.epoch for delivery in recorder.settled]


async def test_a_stream_that_was_deleted_alone_starts_a_new_life(
    redis_url: str, redis: Redis
) -> None:
    recorder = Recorder()

    async with consuming(redis_url, recorder):
        await add(redis, b"a")
        await eventually(has(recorder, b"a"))
        await redis.delete(STREAM)
        await eventually(lambda: _is(redis, epoch_key(0), b"2"))
        await add(redis, b"b")
        await eventually(has(recorder, b"a", b"b"))

    assert [1, 2] == [delivery.entry.epoch for delivery in recorder.settled]


async def test_entries_of_a_life_that_ended_are_not_taken_for_the_next_ones(
    redis_url: str, redis: Redis
) -> None:
    recorder = Recorder()

    async with consuming(redis_url, recorder):
        await add(redis, b"a")
        await eventually(has(recorder, b"a"))
        # As another worker would have done before this one looks.
        async with redis.pipeline(transaction=True) as pipe:
            pipe.delete(STREAM)
            pipe.xgroup_create(STREAM, GROUP, "0", mkstream=True)
            pipe.set(epoch_key(0), 7)
            pipe.xadd(STREAM, {FIELD: b"b"})
            await pipe.execute()
        await eventually(has(recorder, b"a", b"b"))

    assert [1, 7] == [delivery.entry.epoch for delivery in recorder.settled]


@pytest.mark.parametrize("name", ["one", "another"])
async def test_pending_entries_that_were_trimmed_are_counted_as_lost(
    redis_url: str, redis: Redis, name: str
) -> None:
    await left_pending_by(redis, name, b"a", b"b", b"c")
    await redis.xtrim(STREAM, maxlen=1, approximate=False)
    await asyncio.sleep(0.06)
    recorder = Recorder()

    with capture_logs() as logs:
        async with consuming(redis_url, recorder, reclaim_after=0.05) as shards:
            await eventually(has(recorder, b"c"))
            await eventually(lambda: _none_pending(redis))

    assert 2 == shards[0].lost
    assert [2] == [line["count"] for line in logs if line["event"] == "entry.lost"]


async def test_a_server_that_dies_and_comes_back_is_read_again() -> None:
    recorder = Recorder()

    with running_valkey() as valkey:
        async with for_jobs(valkey.url) as redis, consuming(valkey.url, recorder):
            await add(redis, b"a")
            await eventually(has(recorder, b"a"))
            valkey.kill()
            valkey.start()
            await eventually(lambda: _added(redis, b"b"))
            await eventually(lambda: _true(b"b" in recorder.payloads))

    assert {1} == {delivery.entry.epoch for delivery in recorder.settled}


def _refuse(_: Sequence[Delivery]) -> Sequence[Delivery]:
    raise Trouble("down")


async def _true(holds: bool) -> bool:  # noqa: FBT001 -- a condition
    return holds


async def _is(redis: Redis, key: str, value: bytes) -> bool:
    return bool(value == await redis.get(key))


async def _none_pending(redis: Redis) -> bool:
    return not await pending(redis)


async def _added(redis: Redis, payload: bytes) -> bool:
    """Whether the server takes entries again, and has taken this one."""
    try:
        await add(redis, payload)
    except REDIS_TROUBLE:
        return False
    return True
