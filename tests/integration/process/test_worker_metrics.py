"""What workers show on their admin ports."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from uuid import UUID, uuid4

import pytest
from aiohttp import ClientSession
from redis.asyncio import Redis

from ingest.contracts.envelope import Client
from ingest.contracts.metrics.worker import REGISTRY as WORKER
from ingest.contracts.stream import (
    ARCHIVE_GROUP,
    FIELD,
    GROUP,
    WORKERS_KEY,
    events_key,
    heartbeat_key,
)
from ingest.contracts.telemetry import Log
from ingest.contracts.variables import Listening
from scripts.bench.environment.processes import free_port
from tests.support.eventually import eventually
from tests.support.metrics import shown
from tests.support.servers.valkey import Valkey, running_valkey
from workers.enrich import Enricher, Enrichers, chain
from workers.model.batch import Delivery, Entry, TransientError
from workers.model.enrichment import Agent
from workers.pipeline.pipeline import Pipeline
from workers.postgres.database import Pool, open_pool
from workers.process.admin import serve_admin
from workers.process.installation_metrics import InstallationSampler
from workers.redis_io.connections import for_jobs
from workers.redis_io.stream_state import COUNT_LIMIT
from workers.stream.consumer import Outage

REPLAY = UUID(int=1)


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running_valkey() as server:
        yield server


def sampler_of(pool: Pool, redis: Redis, shards: int) -> InstallationSampler:
    return InstallationSampler(
        pool=pool, redis=redis, shards=range(shards), clock=lambda: 0
    )


async def test_a_worker_says_whether_it_records(valkey: Valkey) -> None:
    problems: list[str] = ["starting"]
    where = Listening(port=free_port())
    url = f"http://127.0.0.1:{where.port}"
    async with (
        serve_admin(where, lambda: next(iter(problems), None), dict),
        ClientSession(url) as session,
    ):

        async def status(path: str) -> int:
            async with session.get(path) as answer:
                return answer.status

        async def is_there() -> bool:
            with suppress(OSError):
                return await status("/livez") == 200
            return False

        await eventually(is_there)
        assert 503 == await status("/readyz")
        problems.clear()
        assert 200 == await status("/readyz")
        async with session.get("/metrics") as answer:
            assert "reftide_worker_recorded_total" in await answer.text()
            assert "text/plain" == answer.content_type


async def test_what_becomes_of_entries_is_counted(database_url: str) -> None:
    reason = {"reason": "undecodable"}
    before = shown(WORKER, "reftide_worker_quarantined_total", **reason)
    async with open_pool(database_url, size=2) as pool:
        pipeline = Pipeline(
            pool=pool,
            enrich=chain(Enrichers()),
            consumer="c",
            clock=lambda: 1_790_000_000_000,
            new_id=uuid4,
        )
        for _ in range(2):  # the same delivery again is counted once
            await pipeline.process([Delivery(Entry(1, 0, 1, 0), b"junk")])

    after = shown(WORKER, "reftide_worker_quarantined_total", **reason)
    assert before + 1 == after
    name = "reftide_worker_last_commit_timestamp_seconds"
    assert 1_790_000_000 == shown(WORKER, name)


def test_an_enricher_that_fails_is_counted_each_time() -> None:
    def answer(_: str | None, _agent: Agent) -> Agent:
        raise ZeroDivisionError

    before = shown(WORKER, "reftide_worker_enrichers_failed_total", enricher="odd")
    enrich = chain(Enrichers(agent=[Enricher("odd", answer)]))
    for _ in range(2):
        enrich(Client())

    after = shown(WORKER, "reftide_worker_enrichers_failed_total", enricher="odd")
    assert before + 2 == after


def test_a_shard_that_waits_is_shown_until_it_goes_on() -> None:
    outage = Outage(Log(), lambda _: 0.0, "7")
    assert 0 == shown(WORKER, "reftide_worker_delayed", shard=7)

    outage.next_pause(TransientError("away"))
    outage.next_pause(TransientError("away"))
    assert outage.is_on
    assert 1 == shown(WORKER, "reftide_worker_delayed", shard=7)
    assert 2 == shown(WORKER, "reftide_worker_delays_total", shard=7)

    outage.over()
    assert not outage.is_on
    assert 0 == shown(WORKER, "reftide_worker_delayed", shard=7)


async def test_the_installation_is_sampled(redis_url: str, database_url: str) -> None:
    redis = for_jobs(redis_url)
    async with open_pool(database_url, size=2) as pool:
        key = events_key(1)
        await redis.xgroup_create(key, GROUP, "0", mkstream=True)
        for _ in range(3):
            await redis.xadd(key, {FIELD: b"{}"})
        await redis.xreadgroup(GROUP, "c", {key: ">"}, count=1)
        await redis.sadd(WORKERS_KEY, "alive", "dead")
        await redis.set(heartbeat_key("alive"), b"1")
        await sampler_of(pool, redis, 2).sample()

        assert 3 == shown(WORKER, "reftide_lag_entries", shard=1)
        assert 1 == shown(WORKER, "reftide_pending_entries", shard=1)
        assert 3 == shown(WORKER, "reftide_stream_entries", shard=1)
        assert 1 == shown(WORKER, "reftide_workers_alive")
        assert 3 == shown(WORKER, "reftide_ledger_entries", account="accepted")
        assert 3 == shown(WORKER, "reftide_ledger_entries", account="in_flight")
        assert 0 == shown(WORKER, "reftide_ledger_balance")
        assert 0 < shown(WORKER, "reftide_redis_bytes")

        await redis.xack(key, GROUP, *(await redis.xrange(key))[0][:1])
        await sampler_of(pool, redis, 2).sample()
        assert 1 == shown(WORKER, "reftide_ledger_balance")  # acknowledged, not booked
        assert 0 == shown(WORKER, "reftide_pending_entries", shard=1)
    await redis.aclose()


async def test_a_long_backlog_is_told_and_not_counted(
    redis_url: str, database_url: str
) -> None:
    redis = for_jobs(redis_url)
    key = events_key(0)
    await redis.xgroup_create(key, GROUP, "0", mkstream=True)
    async with redis.pipeline(transaction=False) as pipe:
        for _ in range(COUNT_LIMIT + 500):
            pipe.xadd(key, {FIELD: b"{}"})
        await pipe.execute()
    await redis.xreadgroup(GROUP, "c", {key: ">"}, count=100)

    async with open_pool(database_url, size=2) as pool:
        await sampler_of(pool, redis, 1).sample()
    await redis.aclose()

    assert COUNT_LIMIT + 500 == shown(WORKER, "reftide_lag_entries", shard=0)
    balance = WORKER.get_sample_value("reftide_ledger_balance")
    assert balance != balance  # noqa: PLR0124 -- that is what no number is


async def test_sampling_goes_on_when_a_server_comes_back(
    valkey: Valkey, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.process.installation_metrics._EVERY_SECONDS", 0.05)
    redis, stop = for_jobs(valkey.url), asyncio.Event()
    name = "reftide_sampled_timestamp_seconds"
    now = 1000
    async with open_pool(database_url, size=2) as pool:
        sampler = InstallationSampler(
            pool=pool, redis=redis, shards=[0], clock=lambda: now
        )
        sampling = asyncio.create_task(sampler.keep_sampling(stop))

        async def is_sampled() -> bool:
            return shown(WORKER, name) == now / 1000

        await eventually(is_sampled)
        valkey.kill()
        await asyncio.sleep(0)
        now = 2000
        valkey.start()
        await eventually(is_sampled)
        stop.set()
        await sampling
    await redis.aclose()


async def test_what_waits_in_quarantine_in_replays_and_for_the_archive_is_shown(
    redis_url: str, database_url: str
) -> None:
    redis = for_jobs(redis_url)
    key = events_key(0)
    await redis.xgroup_create(key, GROUP, "0", mkstream=True)
    await redis.xgroup_create(key, ARCHIVE_GROUP, "0")
    seconds, _ = await redis.time()
    for entry in (1, 2):
        await redis.xadd(key, {FIELD: b"{}"}, id=f"{seconds - 90}{entry:03}-0")
    async with open_pool(database_url, size=2) as pool:
        pipeline = Pipeline(
            pool=pool,
            enrich=chain(Enrichers()),
            consumer="c",
            clock=lambda: 1_790_000_000_000,
            new_id=uuid4,
        )
        await pipeline.process([Delivery(Entry(1, 0, 1, 0), b"junk")])
        await pool.execute(
            "insert into replays (id, mode, requested) values ($1, 'missing', '{}')",
            REPLAY,
        )
        await pool.execute(
            "insert into replay_parts (replay_id, shard, cursor, read, expected)"
            " values ($1, 0, '{}', 40, 100), ($1, 1, null, 0, 0)",
            REPLAY,
        )
        await sampler_of(pool, redis, 1).sample()
        assert 1 == shown(WORKER, "reftide_quarantine_open", reason="undecodable")
        assert 0 == shown(WORKER, "reftide_quarantine_open", reason="unknown_link")
        # The part that has not begun is taken for as long as what the other has left.
        assert 120 == shown(WORKER, "reftide_replay_remaining_entries")
        assert 89 < shown(WORKER, "reftide_archive_behind_seconds") < 150

        await redis.xreadgroup(ARCHIVE_GROUP, "a", {key: ">"})
        await sampler_of(pool, redis, 1).sample()
        assert 89 < shown(WORKER, "reftide_archive_behind_seconds") < 150
        await redis.xack(
            key, ARCHIVE_GROUP, *[entry for entry, _ in await redis.xrange(key)]
        )
        await pool.execute("update replays set status = 'done'")
        await sampler_of(pool, redis, 1).sample()
        assert 0 == shown(WORKER, "reftide_archive_behind_seconds")
        assert 0 == shown(WORKER, "reftide_replay_remaining_entries")
    await redis.aclose()
