"""Faults of servers and networks that no other test makes, on the real parts."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

import asyncpg
import orjson
import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError
from structlog.testing import capture_logs

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import Envelope
from ingest.contracts.placement.layout import Layout
from ingest.contracts.stream import FIELD, GROUP
from ingest.durable.servers import one_server
from ingest.durable.stream import PendingAppend, Stream
from ingest.redis_io.client import RedisBreaker, connect
from scripts.bench.environment.proxy import HOST, Link
from tests.support.directory import a_click, furnish, miscounted
from tests.support.environment import inherited
from tests.support.eventually import eventually
from tests.support.servers.valkey import Valkey, running_valkey
from tests.support.workers.working import (
    STREAM,
    has_consumers,
    is_acknowledged,
    working,
)
from workers.model.batch import Delivery, TransientError
from workers.pipeline.pipeline import Pipeline
from workers.postgres import database
from workers.redis_io.connections import for_jobs


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running_valkey("everysec") as server:
        yield server


@pytest.fixture
async def books(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    await furnish(connection)
    await connection.fetchval("select make_partition('2025-03-10')")
    yield connection
    await connection.close()


@pytest.fixture
def urls(redis_url: str, database_url: str) -> tuple[str, str]:
    return redis_url, database_url


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with for_jobs(redis_url) as client:
        yield client


async def add(redis: Redis, *events: Envelope) -> None:
    async with redis.pipeline(
        transaction=True
    ) as pipe:  # one batch, where there is one
        for event in events:
            pipe.xadd(STREAM, {FIELD: encode(event)})
        await pipe.execute()


async def counted(books: asyncpg.Connection) -> tuple[Any, ...]:
    """What became of all entries, after a look at whether the counters are right."""
    assert [] == await miscounted(books)
    return tuple(
        await books.fetchrow(
            "select sum(recorded)::int, sum(repeats)::int, sum(quarantined)::int"
            " from ledger"
        )
    )


# Redis -----------------------------------------------------------------------------------


async def test_a_redis_whose_disk_is_full_is_an_outage_to_edges_and_workers(
    valkey: Valkey, books: asyncpg.Connection, database_url: str
) -> None:
    redis = connect(valkey.url, connections=2)
    writes = RedisBreaker()
    stream = Stream(one_server(redis, Layout.at_home(1), writes))
    with capture_logs() as logs:
        async with working("w", valkey.url, database_url):
            await stream.append_each([entry(a_click(0))])
            await eventually(lambda: is_acknowledged(redis))
            valkey.fill_disk()
            await eventually(lambda: refuses(redis))
            [told] = await stream.append_each([entry(a_click(1))])
            assert "MISCONF" in (told or "")
            assert writes.is_open
            await eventually(lambda: is_said(logs, "MISCONF"))

            valkey.empty_disk()
            await eventually(lambda: takes(redis, a_click(2)))
            await eventually(lambda: is_acknowledged(redis))
    await redis.aclose()

    recorded, _, quarantined = await counted(books)
    assert (2, 0) == (recorded, quarantined)


def entry(event: Envelope) -> PendingAppend:
    return PendingAppend(event.id, encode(event))


async def refuses(redis: Redis) -> bool:
    try:
        await redis.set("anything", 1)
    except RedisError as error:
        return "MISCONF" in str(error)
    return False


async def takes(redis: Redis, event: Envelope) -> bool:
    try:
        await add(redis, event)
    except RedisError:
        return False
    return True


async def is_said(logs: list[Any], cause: str) -> bool:
    told = [line for line in logs if line["event"] == "batch.delayed"]
    return any(cause in str(line) for line in told)


async def test_a_clock_of_redis_that_goes_back_keeps_nothing_from_being_recorded(
    redis_url: str, redis: Redis, books: asyncpg.Connection, database_url: str
) -> None:
    tomorrow = (time.time_ns() // 1_000_000) + 86_400_000
    ahead = {FIELD: encode(a_click(0))}
    await redis.xadd(STREAM, ahead, id=f"{tomorrow}-5")
    async with working("w", redis_url, database_url):
        await add(redis, a_click(1), a_click(2))
        await eventually(lambda: is_acknowledged(redis))

    assert [f"{tomorrow}-6", f"{tomorrow}-7"] == [
        number.decode() for number, _ in (await redis.xrange(STREAM))[1:]
    ]
    assert (3, 0, 0) == await counted(books)


# PostgreSQL ------------------------------------------------------------------------------


@asynccontextmanager
async def read_only(books: asyncpg.Connection) -> AsyncIterator[None]:
    """The database as a standby is: clients that are connected find out by an error."""
    name = await books.fetchval("select quote_ident(current_database())")
    told = "alter database {} set default_transaction_read_only = {}"
    await books.execute(told.format(name, "on"))
    await cut_off(books)
    yield
    await books.execute("begin read write; " + told.format(name, "off") + "; commit")
    await cut_off(books)


@asynccontextmanager
async def locked(books: asyncpg.Connection) -> AsyncIterator[None]:
    async with books.transaction():
        await books.execute("lock table links in access exclusive mode")
        yield


async def cut_off(books: asyncpg.Connection) -> None:
    await books.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()"
    )


class Telling:
    """A pipeline of which it is known what kept it from recording, each time."""

    def __init__(self, pipeline: Pipeline, troubles: list[str]) -> None:
        self._pipeline = pipeline
        self._troubles = troubles

    async def process(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        try:
            return await self._pipeline.process(deliveries)
        except TransientError as trouble:
            self._troubles.append(str(trouble))
            raise


@pytest.mark.parametrize(
    ("trouble", "cause"),
    [(read_only, "25006"), (locked, "55P03")],
    ids=["read-only", "locked"],
)
async def test_a_database_that_takes_nothing_is_waited_for(
    trouble: Any,
    cause: str,
    redis: Redis,
    books: asyncpg.Connection,
    urls: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = {**database.SERVER_SETTINGS, "lock_timeout": "300"}
    monkeypatch.setattr(database, "SERVER_SETTINGS", settings)
    troubles: list[str] = []

    async def is_met() -> bool:
        return any(cause in each for each in troubles)

    async with working("w", *urls, lambda pipeline: Telling(pipeline, troubles)):
        await add(redis, a_click(0))
        await eventually(lambda: is_acknowledged(redis))
        async with trouble(books):
            await add(redis, *map(a_click, range(1, 5)))
            await eventually(is_met)
            pending = await redis.xpending(STREAM, GROUP)
        await eventually(lambda: is_acknowledged(redis))

    assert 4 == pending["pending"], "one batch, and none of it given up"
    assert (5, 0, 0) == await counted(books)


#: Has every commit of a batch wait until it may.
_LOCKED_COMMITS = """
create function wait() returns trigger language plpgsql as
$$ begin perform pg_advisory_xact_lock(1); return null; end $$;
create constraint trigger wait after insert or update on ledger
deferrable initially deferred for each row execute function wait()
"""


async def test_a_commit_whose_answer_is_lost_is_made_once(
    redis_url: str, redis: Redis, books: asyncpg.Connection, database_url: str
) -> None:
    parts = urlsplit(database_url)
    folder = parse_qs(parts.query).get("host", [""])[0]
    port = parts.port or 5432
    link = Link("Postgres", Path(folder) / f".s.PGSQL.{port}" if folder else port)
    await link.open()
    credentials = parts.netloc.rpartition("@")[0]
    through = parts._replace(netloc=f"{credentials}@{HOST}:{link.port}", query="")

    async def is_committed() -> bool:
        return 20 == await books.fetchval("select count(*) from events")

    await books.execute(_LOCKED_COMMITS)
    await books.execute("select pg_advisory_lock(1)")
    async with working("w", redis_url, urlunsplit(through)):
        await add(redis, *map(a_click, range(20)))
        await eventually(lambda: waits_for_a_lock(books))
        link.mute()
        await books.execute("select pg_advisory_unlock(1)")
        await eventually(is_committed)
        assert 20 == (await redis.xpending(STREAM, GROUP))["pending"]
        link.unmute()
        await eventually(lambda: is_acknowledged(redis))
    await link.close()

    assert (20, 0, 0) == await counted(books)


# Workers ---------------------------------------------------------------------------------


@contextmanager
def a_worker(urls: tuple[str, str], data: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        **inherited(),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "REDIS_URL": urls[0],
        "DATABASE_URL": urls[1],
        "REFTIDE_DATA": str(data),
        "REFTIDE_SHARDS": "1",
        "REFTIDE_WORKER_NAME": "frozen",
    }
    command = [sys.executable, "-m", "workers"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.communicate()


_WRITTEN = b'"event":"batch.written"'


async def test_a_worker_that_was_frozen_finishes_what_another_has_recorded(
    redis: Redis,
    books: asyncpg.Connection,
    urls: tuple[str, str],
    tmp_path: Path,
) -> None:
    other = await asyncpg.connect(urls[1])
    with a_worker(urls, tmp_path) as frozen:

        async def is_reading() -> bool:
            assert frozen.poll() is None, frozen.communicate()
            return await has_consumers(redis, 1)

        await eventually(is_reading)
        async with locked(other):
            await add(redis, *map(a_click, range(20)))
            await eventually(lambda: waits_for_a_lock(books))
            frozen.send_signal(signal.SIGSTOP)
        async with working("heir", *urls, reclaim_after=0.5, reclaim_every=0.05):
            await eventually(lambda: is_acknowledged(redis))
        frozen.send_signal(signal.SIGCONT)
        frozen.send_signal(signal.SIGTERM)
        _, said = await asyncio.to_thread(frozen.communicate, timeout=20)
    await other.close()

    written = [orjson.loads(line) for line in said.splitlines() if _WRITTEN in line]
    assert [(20, 0)] == [(line["size"], line["recorded"]) for line in written]
    assert 0 == frozen.returncode
    recorded, _, quarantined = await counted(books)
    assert (20, 0) == (recorded, quarantined)


async def waits_for_a_lock(books: asyncpg.Connection) -> bool:
    return bool(
        await books.fetchval(
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
            " and datname = current_database()"
        )
    )
