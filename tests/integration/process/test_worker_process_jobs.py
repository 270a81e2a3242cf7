"""The jobs and what keeps them going, inside one process."""

import asyncio
import gc
from collections.abc import AsyncIterator

import pytest
from arq.cron import CronJob
from redis.asyncio import Redis
from structlog.testing import capture_logs
from typing_extensions import override

from ingest.contracts.directory import GENERATION_KEY
from ingest.contracts.placement.layout import Layout
from tests.support.eventually import eventually
from tests.support.servers.valkey import running_valkey
from workers.jobs import arq_host
from workers.jobs.arq_host import JobSet, keep_arq
from workers.jobs.schedule import Jobs
from workers.postgres.database import Pool, open_pool
from workers.redis_io.connections import for_jobs


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, size=4) as found:
        yield found


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with for_jobs(redis_url) as client:
        yield client


async def test_partitions_that_are_there_are_not_made_again(
    pool: Pool, redis: Redis
) -> None:
    with capture_logs() as logs:
        await Jobs(pool, redis, Layout.at_home(1)).make_partitions()

    assert [] == logs


async def test_missing_partitions_are_made(pool: Pool, redis: Redis) -> None:
    for table in await pool.fetch(
        "select inhrelid::regclass::text as name from pg_inherits"
        " where inhparent = 'events'::regclass"
    ):
        await pool.execute(f"drop table {table['name']}")

    with capture_logs() as logs:
        await Jobs(pool, redis, Layout.at_home(1)).make_partitions()

    assert [("partitions.made", 3)] == [(each["event"], each["count"]) for each in logs]


async def test_a_failing_job_is_logged_once_until_it_succeeds(
    pool: Pool, redis: Redis
) -> None:
    await redis.set(GENERATION_KEY, 1)
    job = next(
        cron
        for cron in Jobs(pool, redis, Layout.at_home(1)).crons()
        if "publish" in cron.name
    )
    with capture_logs() as logs:
        for ending in ("gone", "back", "gone"):
            name = "directory_changes" if ending == "gone" else "gone_changes"
            other = "gone_changes" if ending == "gone" else "directory_changes"
            await pool.execute(f"alter table {name} rename to {other}")
            await job.coroutine({})
            await job.coroutine({})

    assert ["job.failed", "job.failed"] == [line["event"] for line in logs]
    assert {"publish_urgent_changes"} == {line["job"] for line in logs}


async def test_a_job_that_is_running_is_not_started_beside_itself(
    pool: Pool, redis: Redis
) -> None:
    jobs = Jobs(pool, redis, Layout.at_home(1))
    job = next(cron for cron in jobs.crons() if "ensure" in cron.name)
    started = 0
    goes_on = asyncio.Event()

    async def body() -> None:
        nonlocal started
        started += 1
        await goes_on.wait()

    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(jobs.run("body", body))
        await eventually(lambda: _true(started > 0))
        goes_on.set()

    assert 1 == started
    assert 600 == job.timeout_s


async def test_arq_is_started_again_after_redis_was_away(pool: Pool) -> None:
    stop = asyncio.Event()
    with running_valkey() as valkey, capture_logs() as logs:
        async with for_jobs(valkey.url) as redis, asyncio.TaskGroup() as group:
            jobs = Jobs(pool, redis, Layout.at_home(1))
            group.create_task(keep_arq(jobs, valkey.url, stop, lambda _: 0.05))
            valkey.kill()
            await eventually(lambda: _true(bool(logs)))
            valkey.start()
            await eventually(lambda: _exists(redis, GENERATION_KEY))
            stop.set()

    assert ["arq.restarted"] == [
        line["event"] for line in logs if line["event"] != "directory.published"
    ]


class Restless(JobSet):
    """Jobs that are at work whenever Redis goes."""

    @override
    def crons(self) -> list[CronJob]:
        async def rest() -> None:
            await asyncio.sleep(0.3)

        return [self.cron(rest, f"rest{n}", second=None) for n in range(8)]


# A pipeline of the Redis client that is cancelled while it gives its connection back keeps it,
# and says so when it is collected. It is no task, and its server is gone.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
async def test_arq_leaves_no_tasks_behind_that_fail_unseen() -> None:
    found: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: found.append(context["message"]))
    with running_valkey() as valkey:
        for wait in (0.0, 0.1, 0.2, 0.3, 0.4):
            stop = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                for queue in ("a", "b"):
                    jobs = Restless(queue)
                    group.create_task(keep_arq(jobs, valkey.url, stop, lambda _: 0.05))
                await asyncio.sleep(1.4)
                await asyncio.to_thread(valkey.kill)
                await asyncio.sleep(wait)
                stop.set()
            await asyncio.to_thread(valkey.start)
    await asyncio.sleep(0.5)
    gc.collect()

    assert [] == found


async def test_what_else_ends_arq_is_raised(
    pool: Pool, redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(arq_host, "arq_worker", broken)

    with pytest.raises(ZeroDivisionError):
        await keep_arq(
            Jobs(pool, redis, Layout.at_home(1)),
            redis_url,
            asyncio.Event(),
            lambda _: 0.05,
        )


async def _true(holds: bool) -> bool:  # noqa: FBT001 -- a condition
    return holds


async def _exists(redis: Redis, key: str) -> bool:
    return bool(await redis.exists(key))
