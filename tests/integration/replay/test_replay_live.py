"""Replays beside live traffic, and workers that die with one."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import UUID

import pytest
from redis.asyncio import Redis

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.stream import FIELD
from scripts.services.recover.replays import order, read
from tests.support.directory import LINKS, NOON_MS, a_click, a_lead, a_sale
from tests.support.environment import inherited
from tests.support.eventually import eventually
from tests.support.workers.replaying import EVERYTHING, Site, a_site
from tests.support.workers.working import STREAM, is_acknowledged, working
from workers.model.batch import TransientError
from workers.replay.request import ReplayRequest

ROOT = Path(__file__).resolve().parents[3]
EVENTS = 3000


@pytest.fixture
async def site(redis_url: str, database_url: str) -> AsyncIterator[Site]:
    async with a_site(redis_url, database_url) as made:
        yield made


@pytest.fixture
def start(site: Site, tmp_path: Path) -> object:
    """Starts worker processes; they are gone with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def worker() -> subprocess.Popen[bytes]:
        environment = {
            **inherited(),
            "REDIS_URL": site.redis_url,
            "DATABASE_URL": site.database_url,
            "REFTIDE_DATA": str(tmp_path),
            "REFTIDE_SHARDS": "1",
        }
        with (tmp_path / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "workers"],
                env=environment,
                cwd=ROOT,
                stderr=log,
            )
        started.append(process)
        return process

    yield worker
    for process in started:
        process.kill()
        process.wait()


def _history() -> list[bytes]:
    """Visitors who click, sign up and pay, each on a link."""
    events = []
    for number in range(0, 300, 3):
        link = LINKS[number % 4]
        click = a_click(number, link_id=link)
        who = {"click_id": click.id, "link_id": link, "external_id": f"c{number}"}
        lead = a_lead(number + 1, at=NOON_MS + 5, **who)
        events += [click, lead, a_sale(number + 2, at=NOON_MS + 9, **who), lead]
    return [encode(event) for event in events]


async def _fire(redis: Redis, stop: asyncio.Event) -> int:
    """Live traffic: visitors and customers, some of them known from before."""
    number = 1000
    while not stop.is_set():
        async with redis.pipeline(transaction=False) as pipe:
            for _ in range(5):
                click = a_click(number, link_id=LINKS[number % 4], at=NOON_MS + 50)
                lead = a_lead(
                    number + 1,
                    at=NOON_MS + 60,
                    click_id=click.id,
                    link_id=LINKS[number % 4],
                    external_id=f"c{number % 60}",
                )
                pipe.xadd(STREAM, {FIELD: encode(click)})
                pipe.xadd(STREAM, {FIELD: encode(lead)})
                number += 2
            await pipe.execute()
        await asyncio.sleep(0.01)
    return number - 1000


async def test_three_replays_of_everything_beside_live_traffic_change_nothing(
    site: Site,
) -> None:
    await site.add(*_history())
    await site.record()
    stop = asyncio.Event()
    modes = ("missing", "reprocess", "missing")

    async with working("w2", site.redis_url, site.database_url, reclaim_after=0.05):
        async with asyncio.TaskGroup() as group:
            firing = group.create_task(_fire(site.redis, stop))
            done = [await site.replay(mode) for mode in modes]
            stop.set()
        await eventually(lambda: is_acknowledged(site.redis))

    assert all(each["scanned"] == each["unchanged"] for each in done)
    assert all(each["scanned"] >= 400 for each in done)
    fired = firing.result()
    assert 300 + fired == await site.value("select count(*) from events")
    assert (300 + fired, 100) == tuple(
        await site.value("select (sum(recorded)::int, sum(repeats)::int) from ledger")
    )
    before = await site.digest()
    report = await site.proven()
    assert (True, True, 0) == (report["ok"], report["settled"], report["balance"])
    # And once more at rest: what came during the replays is as it would be alone.
    assert (await site.replay("reprocess")).keys() == {"scanned", "unchanged"}
    assert before == await site.digest()


async def test_a_killed_workers_replay_goes_on_where_it_was(
    site: Site, start: Callable[[], "subprocess.Popen[bytes]"]
) -> None:
    await _add_and_forget(site)
    replay_id = await _order(site, rate=1500)
    first = start()
    await eventually(lambda: _scanned(site, replay_id, 500))

    first.send_signal(signal.SIGKILL)
    first.wait()
    reached = await _read(site, replay_id)
    # As if the time of the dead worker's lease had passed.
    await site.value("update replay_parts set leased_until = now()")
    second = start()
    await eventually(lambda: _is_done(site, replay_id))

    assert second.poll() is None
    done = await _read(site, replay_id)
    assert "running" == reached["status"]
    assert 0 < reached["inserted"] < EVENTS
    counts = ("scanned", "inserted", "unchanged", "read")
    assert (EVENTS, EVENTS, 0, EVENTS) == tuple(done[name] for name in counts)
    assert EVENTS == await site.value("select count(*) from events")
    assert EVENTS == await site.value("select sum(recorded)::int from ledger")
    assert EVENTS == await site.value("select sum(clicks)::int from links")
    assert (await site.proven())["ok"]


async def test_a_rate_is_kept(site: Site) -> None:
    await _add_and_forget(site, 1000)

    replay_id = await _order(site, rate=500)
    replays = site.replays()
    while not await _is_done(site, replay_id):
        await replays.work()

    # The last page is not waited for.
    assert 1.3 < (await _read(site, replay_id))["seconds"] < 10


async def test_workers_that_share_a_replay_count_every_event_once(site: Site) -> None:
    await _add_and_forget(site, 600)
    replay_id = await _order(site, rate=1_000_000)

    # As often as they like, no worker would ever finish a page that it began.
    thefts = iter(range(60))

    async def work() -> None:
        replays = site.replays()
        while not await _is_done(site, replay_id):
            await replays.work()
            if next(thefts, None) is not None:
                # Somebody takes the lease for expired, and works on what another has.
                await site.value("update replay_parts set leased_until = now()")

    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(_persist(work))

    done = await _read(site, replay_id)
    assert (600, 600) == (done["scanned"], done["inserted"])
    assert 600 == await site.value("select sum(recorded)::int from ledger")
    assert (await site.proven())["ok"]


async def _persist(work: Callable[[], object]) -> None:
    while True:
        try:
            await work()  # type: ignore[misc]
        except TransientError:
            continue
        return


async def _add_and_forget(site: Site, count: int = EVENTS) -> None:
    """As after a backup was restored: acknowledged, and in no book."""
    clicks = [encode(a_click(n, link_id=LINKS[n % 5])) for n in range(count)]
    await site.add(*clicks)
    await site.record()
    async with site.pool.acquire() as connection:
        await connection.execute(
            "truncate events, visits, customers, ledger, link_days, program_partners"
        )
        await connection.execute(
            "update links set clicks = 0, unique_clicks = 0, last_clicked_at = null"
        )


async def _order(site: Site, rate: int) -> UUID:
    asked = ReplayRequest(from_ms=0, to_ms=EVERYTHING.to_ms, rate=rate)
    async with site.pool.acquire() as connection:
        return await order(connection, "missing", asked, [0])


async def _read(site: Site, replay_id: UUID) -> dict[str, object]:
    async with site.pool.acquire() as connection:
        return await read(connection, replay_id)


async def _scanned(site: Site, replay_id: UUID, count: int) -> bool:
    found = await site.value("select scanned from replays where id = $1", replay_id)
    return bool(found >= count)


async def _is_done(site: Site, replay_id: UUID) -> bool:
    found = await site.value(
        "select status::text from replays where id = $1", replay_id
    )
    return bool(found == "done")
