"""`python -m workers` as a process: how it starts, lives through outages, stops and dies."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import asyncpg
import orjson
import pytest
from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from ingest.contracts.directory import GENERATION_KEY, api_key_key, link_key
from ingest.contracts.envelope import Envelope, Kind, encode
from ingest.contracts.ids import millis
from ingest.contracts.stream import (
    FIELD,
    GROUP,
    SHARDS_KEY,
    WORKERS_KEY,
    events_key,
    heartbeat_key,
)
from tests.eventually import eventually
from tests.valkey import Valkey, running_valkey
from workers.connections import REDIS_TROUBLE, for_jobs
from workers.database import Connection

ROOT = Path(__file__).resolve().parents[2]
GRACE_SECONDS = 10.0
STREAM = events_key(0)


class Worker:
    """A worker process and what it logged."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "workers"],
                env=dict(environment),
                cwd=ROOT,
                stderr=stream,
            )

    @property
    def output(self) -> str:
        return self._log.read_text()

    @property
    def events(self) -> list[str]:
        lines = self.output.splitlines()
        return [orjson.loads(line)["event"] for line in lines if line.startswith("{")]

    async def says(self, event: str, *, within: float = 20.0) -> None:
        async def said() -> bool:
            assert self.process.poll() in (None, 0), self.output
            return event in self.events

        await eventually(said, within=within)

    async def ends(self, *, within: float = GRACE_SECONDS) -> int:
        async def ended() -> bool:
            return self.process.poll() is not None

        await eventually(ended, within=within)
        return self.process.returncode

    async def stops(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await self.ends()


@dataclass(frozen=True, slots=True)
class Site:
    """A server, a database with a link, and workers to start."""

    valkey: Valkey
    redis: Redis
    database: Connection
    link: UUID
    start: Callable[..., Worker]

    async def add_click(self) -> None:
        click = uuid7()
        envelope = Envelope(
            id=click,
            kind=Kind.CLICK,
            dialect="affitor",
            at=millis(click),
            link_id=self.link,
            namespaces=("-",),
            code="SPRING",
        )
        await self.redis.xadd(STREAM, {FIELD: encode(envelope)})

    async def takes_a_click(self) -> bool:
        """Whether the server, which was away, takes one."""
        try:
            await self.add_click()
        except REDIS_TROUBLE:
            return False
        return True

    async def has_recorded(self, count: int) -> None:
        async def recorded() -> bool:
            found = await self.database.fetchval("select count(*) from events")
            return bool(count == found)

        await eventually(recorded, within=20)

    async def is_acknowledged(self) -> None:
        async def acknowledged() -> bool:
            groups = await self.redis.xinfo_groups(STREAM)
            return bool(groups[0]["pending"] == 0 == groups[0]["lag"])

        await eventually(acknowledged)

    async def has(self, key: str) -> bool:
        with suppress(*REDIS_TROUBLE):
            return bool(await self.redis.exists(key))
        return False


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running_valkey() as server:
        yield server
        server.thaw()


@pytest.fixture
async def site(
    valkey: Valkey, database_url: str, tmp_path: Path
) -> AsyncIterator[Site]:
    workers: list[Worker] = []

    def start(**more: str) -> Worker:
        environment = {
            "PATH": os.environ["PATH"],  # noqa: TID251 -- to be handed on
            "REDIS_URL": valkey.url,
            "DATABASE_URL": database_url,
            "REFTIDE_DATA": str(tmp_path),
            "REFTIDE_SHARDS": "1",
            **more,
        }
        workers.append(Worker(environment, tmp_path / f"worker-{len(workers)}.log"))
        return workers[-1]

    database = await asyncpg.connect(database_url)
    link = await _create_link(database)
    async with for_jobs(valkey.url) as redis:
        yield Site(valkey, redis, database, link, start)
    for worker in workers:
        worker.process.kill()
        worker.process.wait()
    await database.close()


async def _create_link(database: Connection) -> UUID:
    workspace, link = uuid7(), uuid7()
    await database.execute("insert into workspaces values ($1, 'w')", workspace)
    await database.execute(
        "insert into links (id, workspace_id, public_id, namespace, code)"
        " values ($1, $2, 'lk_1', '-', 'SPRING')",
        link,
        workspace,
    )
    await database.execute(
        "insert into api_keys (id, workspace_id, key_hash, last_four, scopes)"
        " values ($1, $2, $3, '1234', '{}')",
        uuid7(),
        workspace,
        bytes(32),
    )
    return link


@contextmanager
def frozen(processes: list[int]) -> Iterator[None]:
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


async def test_events_are_recorded_and_sigterm_ends_it_well(site: Site) -> None:
    await site.add_click()
    worker = site.start(REFTIDE_WORKER_NAME="w1")
    await site.has_recorded(1)
    await site.is_acknowledged()
    await eventually(lambda: site.has(heartbeat_key("w1")))

    assert 0 == await worker.stops()

    assert ["w1"] == await names(site)
    assert b"1" == await site.redis.get(SHARDS_KEY)
    assert "worker.stopped" == worker.events[-1]
    assert "job.failed" not in worker.events


async def test_changes_reach_the_directory_within_a_second(site: Site) -> None:
    worker = site.start()
    await worker.says("directory.published")
    await eventually(lambda: site.has(link_key("-", "SPRING")))

    await site.database.execute("update links set code = 'SUMMER'")
    waited = await eventually(lambda: site.has(link_key("-", "SUMMER")))
    assert await site.has(api_key_key(bytes(32)))
    await site.database.execute("update api_keys set revoked_at = now()")
    began = time.monotonic()
    while await site.has(api_key_key(bytes(32))):
        assert time.monotonic() - began < 2
        await asyncio.sleep(0.02)

    assert waited < 2
    assert not await site.has(link_key("-", "SPRING"))


async def test_an_emptied_redis_has_its_directory_again_within_six_seconds(
    site: Site,
) -> None:
    worker = site.start()
    await eventually(lambda: site.has(GENERATION_KEY), within=20)

    await site.redis.flushdb()
    await eventually(lambda: site.has(GENERATION_KEY), within=6)

    assert await site.has(link_key("-", "SPRING"))
    await site.add_click()
    await site.has_recorded(1)
    assert 0 == await worker.stops()


async def test_it_lives_on_when_redis_dies_and_comes_back(site: Site) -> None:
    worker = site.start()
    await site.add_click()
    await site.has_recorded(1)

    site.valkey.kill()
    await worker.says("batch.delayed")
    await worker.says("arq.restarted")
    site.valkey.start()
    await eventually(site.takes_a_click)

    await site.has_recorded(2)
    await eventually(lambda: site.has(GENERATION_KEY))
    await site.database.execute("update links set code = 'SUMMER'")
    await eventually(lambda: site.has(link_key("-", "SUMMER")))
    assert worker.process.poll() is None


async def test_it_ends_well_while_redis_is_frozen(site: Site) -> None:
    worker = site.start()
    await site.add_click()
    await site.has_recorded(1)

    site.valkey.freeze()

    assert 0 == await worker.stops()


async def test_it_ends_well_while_postgres_is_frozen(site: Site) -> None:
    worker = site.start()
    await site.add_click()
    await site.has_recorded(1)
    rows = await site.database.fetch(
        "select pid from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()"
    )

    with frozen([row["pid"] for row in rows]):
        await site.add_click()
        await eventually(lambda: _is_pending(site, 1))
        assert 0 == await worker.stops()

    # Abandoned, not lost.
    site.start()
    await site.has_recorded(2)


async def test_a_second_signal_ends_it_at_once(site: Site) -> None:
    worker = site.start()
    await worker.says("worker.started")
    site.valkey.freeze()

    worker.process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.3)
    worker.process.send_signal(signal.SIGTERM)

    assert 1 == await worker.ends(within=1)


@pytest.mark.parametrize("boundary", ["written", "committed"])
async def test_a_worker_that_is_killed_records_its_events_once_when_it_is_back(
    site: Site, boundary: str
) -> None:
    worker = site.start(REFTIDE_CRASH_AT=f"{boundary}:2")
    await site.add_click()
    await site.has_recorded(1)
    await site.add_click()
    assert -signal.SIGKILL == await worker.ends()

    site.start()

    await site.has_recorded(2)
    await site.is_acknowledged()
    row = await site.database.fetchrow(
        "select sum(recorded)::int as recorded, sum(repeats)::int as repeats from ledger"
    )
    assert (2, 0) == tuple(row or ())
    assert 2 == await site.database.fetchval("select clicks from links")


async def test_a_bug_pauses_recording_until_it_is_fixed(site: Site) -> None:
    worker = site.start()
    await worker.says("worker.started")

    await site.database.execute("alter table events rename column kind to sort")
    await site.add_click()

    await worker.says("group.paused")
    await eventually(lambda: _is_paused(site))
    pause = await site.database.fetchrow("select cause::text, detail from pauses")
    assert "bug" == pause["cause"]
    assert "UndefinedColumnError" in pause["detail"]
    # It outlives the process, and what waits stays pending.
    assert 0 == await worker.stops()
    other = site.start()
    await other.says("worker.started")
    await eventually(lambda: _is_pending(site, 1))
    await site.database.execute("alter table events rename column sort to kind")
    await site.add_click()
    assert 1 == (await site.redis.xpending(STREAM, GROUP))["pending"]

    await site.database.execute("update pauses set resumed_at = now()")

    await site.has_recorded(2)
    await site.is_acknowledged()
    assert other.process.poll() is None


async def _is_paused(site: Site) -> bool:
    return await site.database.fetchrow("select from pauses") is not None


async def test_another_number_of_shards_is_refused_with_what_to_do(
    site: Site,
) -> None:
    await site.redis.set(SHARDS_KEY, 8)

    worker = site.start()

    assert 2 == await worker.ends()
    assert "set REFTIDE_SHARDS to the number in Redis" in worker.output


async def test_a_name_that_another_worker_has_is_refused(site: Site) -> None:
    first = site.start(REFTIDE_WORKER_NAME="w1")
    await first.says("worker.started")

    second = site.start(REFTIDE_WORKER_NAME="w1")

    assert 2 == await second.ends()
    assert "another worker on this machine has that name" in second.output


async def test_workers_without_names_take_the_lowest_free_slots(site: Site) -> None:
    first = site.start()
    await first.says("worker.started")
    second = site.start()
    await second.says("worker.started")
    await eventually(lambda: _has_workers(site, 2))

    first.process.kill()
    first.process.wait()
    third = site.start()
    await third.says("worker.started")

    slots = [name.rpartition("-")[2] for name in await names(site)]
    assert ["1", "2"] == slots


async def test_missing_settings_are_named(site: Site) -> None:
    worker = site.start(DATABASE_URL="")

    assert 2 == await worker.ends()
    assert worker.output.startswith("worker: DATABASE_URL is not set: give")


async def test_it_waits_for_servers_that_are_not_there_yet(site: Site) -> None:
    site.valkey.kill()
    worker = site.start()
    await worker.says("batch.delayed")

    site.valkey.start()
    await worker.says("worker.started")

    assert 0 == await worker.stops()


async def test_it_stops_waiting_when_it_is_told_to(site: Site) -> None:
    site.valkey.kill()
    worker = site.start()
    await worker.says("batch.delayed")

    assert 0 == await worker.stops()
    site.valkey.start()


async def _is_pending(site: Site, count: int) -> bool:
    return bool(count == (await site.redis.xpending(STREAM, GROUP))["pending"])


async def names(site: Site) -> list[str]:
    found = site.redis.sscan_iter(WORKERS_KEY)
    return sorted([name.decode() async for name in found])


async def _has_workers(site: Site, count: int) -> bool:
    return count == len(await names(site))
