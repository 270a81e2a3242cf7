"""`python -m workers` as a process: how it starts, lives through outages, stops and dies."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ingest.contracts.directory import GENERATION_KEY, api_key_key, link_key
from ingest.contracts.stream import GROUP, SHARDS_KEY, WORKERS_KEY, heartbeat_key
from scripts.bench.environment.processes import stopped
from tests.support.eventually import eventually
from tests.support.servers.valkey import Valkey, running_valkey
from tests.support.servers.worker_process import (
    GRACE_SECONDS,
    STREAM,
    Site,
    a_site,
)


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running_valkey() as server:
        yield server
        server.thaw()


@pytest.fixture
async def site(
    valkey: Valkey, database_url: str, tmp_path: Path
) -> AsyncIterator[Site]:
    async with a_site(valkey, database_url, tmp_path) as made:
        yield made


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


async def test_changes_reach_the_directory_at_once(site: Site) -> None:
    worker = site.start()
    await worker.says("directory.published")
    await eventually(lambda: site.has(link_key("-", "SPRING")))

    await site.database.execute("update links set code = 'SUMMER'")
    waited = await eventually(lambda: site.has(link_key("-", "SUMMER")))
    assert await site.has(api_key_key(bytes(32)))
    await site.database.execute("update api_keys set revoked_at = now()")
    began = time.monotonic()
    while await site.has(api_key_key(bytes(32))):
        assert time.monotonic() - began < 10
        await asyncio.sleep(0.02)

    assert waited < 10
    assert not await site.has(link_key("-", "SPRING"))


async def test_an_emptied_redis_has_its_directory_again_within_seconds(
    site: Site,
) -> None:
    worker = site.start()
    await eventually(lambda: site.has(GENERATION_KEY))

    await site.redis.flushdb()
    await eventually(lambda: site.has(GENERATION_KEY))

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
    began = time.monotonic()
    worker = site.start()
    await site.add_click()
    await site.has_recorded(1)
    # What a slow machine needs more for its end it needed for its start, too.
    start = time.monotonic() - began

    site.valkey.freeze()

    assert 0 == await worker.stops(within=GRACE_SECONDS + start)


async def test_it_ends_well_while_postgres_is_frozen(site: Site) -> None:
    worker = site.start()
    await site.add_click()
    await site.has_recorded(1)
    rows = await site.database.fetch(
        "select pid from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()"
    )

    with stopped([row["pid"] for row in rows]):
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

    assert 2 == await worker.ends(within=40)
    assert "set REFTIDE_SHARDS to the number in Redis" in worker.output


async def test_a_worker_goes_on_with_its_shards_while_there_are_more(
    site: Site,
) -> None:
    worker = site.start()
    await worker.says("worker.started")
    await site.redis.set(SHARDS_KEY, 8)

    await site.add_click()
    await site.has_recorded(1)
    assert worker.process.poll() is None


async def test_a_worker_ends_when_the_streams_go_elsewhere(site: Site) -> None:
    worker = site.start()
    await worker.says("worker.started")
    await site.redis.set(SHARDS_KEY, "11,43 on 2 servers")

    assert 1 == await worker.ends(within=40)
    assert "rt:shards in Redis says 2 on 2 servers" in worker.output


async def test_a_name_that_another_worker_has_is_refused(site: Site) -> None:
    first = site.start(REFTIDE_WORKER_NAME="w1")
    await first.says("worker.started")

    second = site.start(REFTIDE_WORKER_NAME="w1")

    assert 2 == await second.ends(within=40)
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

    assert 2 == await worker.ends(within=40)
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
