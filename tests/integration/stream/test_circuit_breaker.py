"""Recording pauses for everybody where it would do harm, and goes on when it is told to."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs
from uuid_utils.compat import uuid7

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.stream import FIELD, GROUP, events_key
from tests.support.directory import NOON_MS, a_click, furnish
from tests.support.eventually import eventually
from tests.support.servers.cli import Cli
from tests.support.workers.working import is_acknowledged
from workers.enrich import build_enrichers
from workers.model.batch import Delivery, PausedError, Recorder
from workers.pipeline.pipeline import Pipeline
from workers.postgres.database import Connection, Pool, open_pool, transaction
from workers.quarantine import circuit_breaker
from workers.quarantine.circuit_breaker import (
    BadEntryLimit,
    CircuitBreaker,
    keep_refreshing,
)
from workers.redis_io.connections import for_jobs, for_reader
from workers.stream.consumer import Consumer
from workers.stream.epochs import current_epoch
from workers.stream.poison_pill import PoisonPillIsolation
from workers.stream.shard import ReaderConfig, ShardReader

STREAM = events_key(0)
#: Far more than may be put away at once.
MANY = 60


class Buggy:
    """A recorder with a bug that somebody repairs."""

    def __init__(self, inner: Recorder) -> None:
        self.is_repaired = False
        self._inner = inner

    async def process(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        if not self.is_repaired:
            raise ZeroDivisionError("division by zero")
        return await self._inner.process(deliveries)

    async def give_up(self, delivery: Delivery, detail: str) -> None:
        await self._inner.give_up(delivery, detail)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with for_jobs(redis_url) as client:
        yield client


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, size=8) as pool:
        async with pool.acquire() as connection:
            await furnish(connection)
        yield pool


@asynccontextmanager
async def recording(
    name: str, redis_url: str, pool: Pool, bug: type[Buggy] | None = None
) -> AsyncIterator[tuple[CircuitBreaker, Recorder]]:
    """A worker with a breaker, on one shard."""
    config, stop = ReaderConfig(name=name, block_ms=50), asyncio.Event()
    pipeline = Pipeline(
        pool=pool,
        enrich=build_enrichers(None),
        consumer=name,
        clock=lambda: NOON_MS,
        new_id=uuid7,
        limit=BadEntryLimit(),
    )
    recorder: Recorder = pipeline if bug is None else bug(pipeline)
    breaker = CircuitBreaker(pool, name, pipeline.limit)
    async with AsyncExitStack() as stack:
        reader = await stack.enter_async_context(for_reader(redis_url))
        redis = await stack.enter_async_context(for_jobs(redis_url))
        shard = ShardReader(reader, 0, config, partial(current_epoch, pool))
        processor = PoisonPillIsolation(recorder, redis, pool)
        consumer = Consumer([shard], processor, config, stop=stop, breaker=breaker)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        group.create_task(keep_refreshing(breaker, stop))
        group.create_task(consumer.run())
        try:
            yield breaker, recorder
        finally:
            stop.set()


async def add(redis: Redis, *payloads: bytes) -> None:
    for payload in payloads:
        await redis.xadd(STREAM, {FIELD: payload})


def clicks(count: int, **changes: object) -> list[bytes]:
    return [encode(a_click(number, **changes)) for number in range(1, count + 1)]


async def _is_shut(breaker: CircuitBreaker) -> bool:
    return breaker.is_paused


async def _count(pool: Pool, table: str) -> int:
    async with pool.acquire() as connection:
        found: int = await connection.fetchval(f"select count(*) from {table}")  # noqa: S608 -- a name of ours
        return found


async def _unacknowledged(redis: Redis) -> int:
    pending = (await redis.xpending(STREAM, GROUP))["pending"]
    return int(pending)


async def test_too_many_bad_entries_pause_every_worker_and_stay_in_the_stream(
    redis: Redis, redis_url: str, pool: Pool, cli: Cli
) -> None:
    await add(redis, *[b"junk"] * MANY)

    async with (
        recording("w1", redis_url, pool) as (first, _),
        recording("w2", redis_url, pool) as (second, _),
    ):
        await eventually(lambda: _is_shut(first))
        waited = await eventually(lambda: _is_shut(second))
        await add(redis, *clicks(3))
        document = await asyncio.to_thread(cli.status)
        await asyncio.sleep(0.3)

        assert 0 == await _count(pool, "events")

    assert waited < 10
    assert 0 == await _count(pool, "quarantine")
    # A read that was under way when it paused may have taken some of the others along.
    assert MANY <= await _unacknowledged(redis)
    assert "culprits" == document["paused"]["cause"]
    assert f"{MANY} entries in a row" in document["paused"]["detail"]


async def test_a_pause_outlives_workers_and_is_lifted_by_the_operator(
    redis: Redis, redis_url: str, pool: Pool, cli: Cli
) -> None:
    await add(redis, *[b"junk"] * MANY)
    async with recording("w1", redis_url, pool) as (breaker, _):
        await eventually(lambda: _is_shut(breaker))
    await add(redis, *clicks(3))

    async with recording("w1", redis_url, pool) as (breaker, _):
        await eventually(lambda: _is_shut(breaker))
        arguments = ("resume", "--fixed", "a test's garbage", "--allow", f"{MANY}")
        document = await asyncio.to_thread(cli.document, *arguments)
        await eventually(lambda: is_acknowledged(redis))

    assert document["was_paused"]
    assert "a test's garbage" == document["pause"]["fixed"]
    assert (3, MANY) == (await _count(pool, "events"), await _count(pool, "quarantine"))


async def test_a_flood_of_unknown_codes_pauses_nothing(
    redis: Redis, redis_url: str, pool: Pool
) -> None:
    unknown: dict[str, object] = {
        "link_id": None,
        "namespaces": ("-",),
        "code": "NOBODY",
        "workspace_id": None,
    }
    await add(redis, *clicks(200, **unknown))

    async with recording("w1", redis_url, pool) as (breaker, _):
        await eventually(lambda: is_acknowledged(redis))
        assert not breaker.is_paused

    assert 200 == await _count(pool, "quarantine")


async def test_a_bug_pauses_and_what_was_in_hand_is_recorded_when_it_is_repaired(
    redis: Redis, redis_url: str, pool: Pool, cli: Cli
) -> None:
    await add(redis, *clicks(5))

    with capture_logs() as logs:
        async with recording("w1", redis_url, pool, Buggy) as (breaker, recorder):
            await eventually(lambda: _is_shut(breaker))
            assert isinstance(recorder, Buggy)
            recorder.is_repaired = True
            await asyncio.sleep(0.7)
            before = await _count(pool, "events")
            await asyncio.to_thread(cli.document, "resume", "--fixed", "zero")
            await eventually(lambda: is_acknowledged(redis))

    assert (0, 5) == (before, await _count(pool, "events"))
    (paused,) = [line for line in logs if line["event"] == "group.paused"]
    assert "error" == paused["log_level"]
    assert "ZeroDivisionError: division by zero" == paused["detail"]
    assert 1 == await _count(pool, "pauses")


async def test_a_pause_is_not_undone_by_what_was_read_before_it(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pool.execute(
        "insert into pauses (cause, detail, consumer, allowed, resumed_at)"
        " values ('culprits', '', 'w1', 1000, now())"
    )
    breaker, limit = await _opened(pool)
    has_read, may_answer = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def slowly(pool: Pool) -> AsyncIterator[Connection]:
        async with transaction(pool) as connection:
            yield connection
        if not has_read.is_set():
            has_read.set()
            await may_answer.wait()

    monkeypatch.setattr(circuit_breaker, "transaction", slowly)
    async with asyncio.TaskGroup() as group:
        group.create_task(breaker.refresh())
        await has_read.wait()
        halting = group.create_task(breaker.pause(PausedError("culprits", "too many")))
        # Where nothing kept it, it would have been done long before.
        await asyncio.wait([halting], timeout=0.3)
        may_answer.set()

    assert breaker.is_paused
    with pytest.raises(PausedError):
        limit.judge(0, MANY)
    assert 1 == await pool.fetchval(
        "select count(*) from pauses where resumed_at is null"
    )


async def _opened(pool: Pool) -> tuple[CircuitBreaker, BadEntryLimit]:
    limit = BadEntryLimit()
    breaker = CircuitBreaker(pool, "w1", limit)
    await breaker.refresh()
    assert not breaker.is_open
    return breaker, limit


def test_resume_asks_what_was_fixed_unless_it_was_said(cli: Cli) -> None:
    cli.fetch(
        "insert into pauses (cause, detail, consumer) values ('bug', 'Oops', 'w1')"
    )

    refused = cli.run("resume", "--json")
    asked = cli.run("resume", sent="the cause\n")

    assert 2 == refused.code
    assert 0 == asked.code
    assert "Oops" in asked.out
    assert "What was fixed" in asked.out
    (row,) = cli.fetch("select fixed, resumed_at from pauses")
    assert "the cause" == row["fixed"]
    assert row["resumed_at"] is not None
    assert {"was_paused": False, "pause": None} == cli.document("resume")


def test_status_says_that_recording_is_paused_and_why(cli: Cli) -> None:
    assert cli.status()["paused"] is None
    cli.fetch(
        "insert into pauses (cause, detail, consumer) values ('bug', 'Oops', 'w1')"
    )

    said = " ".join(cli.run("status", "--window", "0").out.split())

    assert "Recording is paused" in said
    assert "Oops Fix it, then `reftide resume`." in said


def test_only_one_pause_lasts_at_a_time(cli: Cli) -> None:
    for cause in ("bug", "culprits"):
        cli.fetch(
            "insert into pauses (cause, detail, consumer)"
            " values ($1::text::pause_cause, '', 'w1') on conflict do nothing",
            cause,
        )

    assert 1 == len(cli.fetch("select from pauses"))
