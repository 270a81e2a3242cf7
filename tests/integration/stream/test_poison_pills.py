"""An entry that kills workers is put aside; one that is near when workers die is not."""

import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.stream import FIELD, GROUP, alone_key, events_key
from tests.support.directory import NOON_MS, a_click, an_id, furnish
from tests.support.environment import inherited
from tests.support.eventually import eventually
from tests.support.servers.worker_process import Worker
from tests.support.workers.working import is_acknowledged
from workers.model.batch import Delivery, Entry, Recorder, TransientError
from workers.postgres.database import Connection, Pool, open_pool
from workers.redis_io.connections import for_jobs
from workers.stream.poison_pill import PoisonPillIsolation, batches

STREAM = events_key(0)
POISON = 3
CLICKS = 6

Start = Callable[..., Worker]


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with for_jobs(redis_url) as client:
        yield client


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database_url)
    await furnish(connection)
    yield connection
    await connection.close()


@pytest.fixture
async def start(
    redis_url: str, database_url: str, tmp_path: Path
) -> AsyncIterator[Start]:
    workers: list[Worker] = []

    def start(**more: str) -> Worker:
        environment = {
            **inherited(),
            "REDIS_URL": redis_url,
            "DATABASE_URL": database_url,
            "REFTIDE_DATA": str(tmp_path),
            "REFTIDE_SHARDS": "1",
            "REFTIDE_WORKER_NAME": "w1",
            **more,
        }
        workers.append(Worker(environment, tmp_path / f"worker-{len(workers)}.log"))
        return workers[-1]

    yield start
    for worker in workers:
        worker.process.kill()
        worker.process.wait()


async def _add_clicks(redis: Redis) -> None:
    for number in range(CLICKS):
        await redis.xadd(STREAM, {FIELD: encode(a_click(number))})


async def _ends_or_settles(worker: Worker, redis: Redis) -> bool:
    return worker.process.poll() is not None or await is_acknowledged(redis)


async def _times(redis: Redis) -> list[int]:
    if not await redis.xinfo_groups(STREAM):
        return []
    found = await redis.xpending_range(STREAM, GROUP, "-", "+", CLICKS)
    return [each["times_delivered"] for each in found]


async def test_an_event_that_kills_workers_is_quarantined_and_its_batchmates_are_recorded(
    redis: Redis, database: Connection, start: Start
) -> None:
    await _add_clicks(redis)
    poison, deaths = an_id(POISON), 0

    while not deaths or not await is_acknowledged(redis):
        worker = start(REFTIDE_CRASH_OVER=str(poison))
        await eventually(lambda worker=worker: _ends_or_settles(worker, redis))
        if worker.process.poll() is not None:
            assert -signal.SIGKILL == worker.process.returncode, worker.output
            deaths += 1

    # Twice with the others, three times alone.
    assert 5 == deaths
    row = await database.fetchrow(
        "select event_id, reason::text, detail from quarantine"
    )
    assert row is not None
    assert (poison, "crash_loop", "3 workers died over it") == tuple(row)
    assert CLICKS - 1 == await database.fetchval("select count(*) from events")
    assert not await redis.exists(alone_key(0))


async def test_no_outage_with_workers_that_are_killed_quarantines_anything(
    redis: Redis, database: Connection, start: Start
) -> None:
    await _add_clicks(redis)
    async with database.transaction():
        await database.execute("lock table events in access exclusive mode")
        for killed in range(6):
            worker = start()

            async def is_delivered(times: int = killed + 1) -> bool:
                return [times] * CLICKS == await _times(redis)

            await eventually(is_delivered)
            worker.process.kill()
            worker.process.wait()

    start()
    await eventually(lambda: is_acknowledged(redis))

    assert CLICKS == await database.fetchval("select count(*) from events")
    assert 0 == await database.fetchval("select count(*) from quarantine")
    assert not await redis.exists(alone_key(0))


# Inside one process ----------------------------------------------------------------------


class Scripted:
    """A recorder that does what it is told, and remembers what it gave up."""

    def __init__(self, *failures: Exception) -> None:
        self.given_up: list[str] = []
        self.processed = 0
        self._failures = list(failures)

    async def process(self, deliveries: list[Delivery]) -> list[Delivery]:
        self.processed += 1
        if self._failures:
            raise self._failures.pop(0)
        return deliveries

    async def give_up(self, delivery: Delivery, detail: str) -> None:
        self.given_up.append(detail)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, size=2) as pool:
        yield pool


def _suspect(payload: bytes = b"{}", times: int = 3) -> Delivery:
    return Delivery(Entry(1, 0, NOON_MS, 1), payload, times)


async def _die_over(delivery: Delivery, redis: Redis, pool: Pool) -> None:
    """What a worker leaves that dies over an entry it has alone."""
    await PoisonPillIsolation(Scripted(), redis, pool)._mark(delivery.entry)


async def test_attempts_of_one_life_are_no_deaths(redis: Redis, pool: Pool) -> None:
    trouble = [TransientError("down") for _ in range(8)]
    recorder = Scripted(*trouble)
    isolating = PoisonPillIsolation(recorder, redis, pool)

    for _ in trouble:
        with pytest.raises(TransientError):
            await isolating.process([_suspect()])
    assert [_suspect()] == await isolating.process([_suspect()])

    assert [] == recorder.given_up
    assert not await redis.exists(alone_key(0))


async def test_trouble_forgets_no_death_and_success_forgets_all(
    redis: Redis, pool: Pool
) -> None:
    for _ in range(2):
        await _die_over(_suspect(), redis, pool)
    recorder = Scripted(TransientError("down"))
    isolating = PoisonPillIsolation(recorder, redis, pool)
    with pytest.raises(TransientError):
        await isolating.process([_suspect()])
    assert {b"1:1741608000000-1": b"2 "} == await redis.hgetall(alone_key(0))

    await isolating.process([_suspect()])

    assert not await redis.exists(alone_key(0))


async def test_three_deaths_are_too_many(redis: Redis, pool: Pool) -> None:
    for _ in range(3):
        await _die_over(_suspect(), redis, pool)
    recorder = Scripted()

    with capture_logs() as logs:
        done = await PoisonPillIsolation(recorder, redis, pool).process([_suspect()])

    assert [_suspect()] == done
    assert (0, ["3 workers died over it"]) == (recorder.processed, recorder.given_up)
    assert ["entry.given_up"] == [line["event"] for line in logs]
    assert not await redis.exists(alone_key(0))


async def test_a_mark_is_set_while_redis_is_out_of_memory(
    redis: Redis, pool: Pool
) -> None:
    await redis.config_set("maxmemory", 1)
    try:
        await PoisonPillIsolation(Scripted(), redis, pool).process([_suspect()])
    finally:
        await redis.config_set("maxmemory", 0)


async def test_where_postgres_does_not_answer_no_mark_is_set(
    redis: Redis, database_url: str
) -> None:
    async with open_pool(database_url, size=1) as pool:
        pool.terminate()
        recorder: Recorder = Scripted()

        with pytest.raises(TransientError):
            await PoisonPillIsolation(recorder, redis, pool).process([_suspect()])

    assert not await redis.exists(alone_key(0))


def test_suspects_are_taken_out_of_the_batch_one_by_one() -> None:
    first, second = _suspect(), _suspect(times=7)
    fine, again = _suspect(times=1), _suspect(times=2)

    assert [[fine, again], [first], [second]] == batches(
        [first, fine, second, again], 9
    )
    assert [[fine, again]] == batches([fine, again], 9)


def test_a_batch_has_no_more_events_than_wanted() -> None:
    fine = [_suspect(times=1) for _ in range(5)]

    assert [fine[:2], fine[2:4], fine[4:]] == batches(fine, 2)


def test_what_waits_for_a_later_release_is_no_suspect() -> None:
    newer = [_suspect(b'{"v": 999}', times=50) for _ in range(3)]

    assert [newer] == batches(newer, 9)
