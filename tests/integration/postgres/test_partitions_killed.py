"""Months that are detached count as before, even if a process dies or writes meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import count

import asyncpg
import pytest
from structlog.testing import capture_logs

from scripts.services.maintain import partitions
from scripts.services.maintain.partitions import Step
from tests.support.directory import LINKS, NOON_MS, a_click, a_lead, an_id, miscounted
from tests.support.servers.cli import Cli, servers_of
from tests.support.workers.detaching import (
    MAY,
    a_history,
    a_site,
    counters,
    is_right,
    months,
    record,
    states,
)
from tests.support.workers.replaying import Site


@pytest.fixture
async def site(redis_url: str, database_url: str) -> AsyncIterator[Site]:
    async with a_site(redis_url, database_url) as made:
        yield made


@pytest.fixture
def cli(redis_url: str, database_url: str) -> Cli:
    made = servers_of(redis_url, database_url)
    return Cli({**made.variables, "REFTIDE_SHARDS": "1"})


class Killed(Exception):
    """What stands for SIGKILL: the connection is gone too."""


def killing(at: str) -> Callable[[Step], None]:
    def boundary(step: Step) -> None:
        if step == at:
            raise Killed(step)

    return boundary


async def detach_one(site: Site, boundary: Callable[[Step], None]) -> None:
    """Detach the oldest month, on a connection that ends with it."""
    connection = await asyncpg.connect(site.database_url)
    try:
        [month, *_] = await partitions.months(connection)
        await partitions.detach(connection, site.redis, [0], month, boundary)
    finally:
        connection.terminate()


# A process dies ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "state"),
    [("closed", "closed"), ("folded", "folded"), ("detached", "detached")],
)
async def test_killed_after_a_step_the_sums_are_right_and_it_goes_on(
    site: Site, cli: Cli, step: str, state: str
) -> None:
    await record(site.pool, *a_history())
    before = await counters(site.pool)

    with pytest.raises(Killed):
        await detach_one(site, killing(step))

    assert state == (await states(site.pool))[0]
    await is_right(site)
    # Late ones are refused from the first step on.
    await record(site.pool, a_click(99))
    assert 1 == await site.value("select count(*)::int from quarantine")
    assert before == await counters(site.pool)

    shown = await asyncio.to_thread(cli.run, "partitions", "list")
    assert (state != "detached") == ("half detached" in shown.out)
    await asyncio.to_thread(cli.document, "partitions", "detach", "--before", "2025-04")
    assert "detached" == (await states(site.pool))[0]
    assert before == await counters(site.pool)
    await is_right(site)


@pytest.mark.parametrize("step", ["closed", "folded", "detached"])
async def test_a_month_is_put_back_from_wherever_it_stands(
    site: Site, cli: Cli, step: str
) -> None:
    await record(site.pool, *a_history())
    before = await counters(site.pool)
    with pytest.raises(Killed):
        await detach_one(site, killing(step))

    await asyncio.to_thread(cli.document, "partitions", "attach", "--from", "2025-03")

    assert {"attached"} == set(await states(site.pool))
    assert before == await counters(site.pool)
    await record(site.pool, a_click(99))
    assert 0 == await site.value("select count(*)::int from quarantine")
    await is_right(site)


async def test_killed_between_attaching_and_counting_it_counts_once(
    site: Site, cli: Cli
) -> None:
    await record(site.pool, *a_history())
    before = await counters(site.pool)
    await detach_one(site, lambda _: None)
    [month, *_] = await months(site.pool)

    async with site.pool.acquire() as connection:
        with pytest.raises(Killed):
            await partitions.attach(connection, month, killing("attached"))

    await is_right(site)
    await asyncio.to_thread(cli.document, "partitions", "attach", "--from", "2025-03")
    assert before == await counters(site.pool)
    await is_right(site)


async def test_killed_in_the_middle_of_detaching_it_is_ended_later(
    site: Site, cli: Cli
) -> None:
    await record(site.pool, *a_history())
    reader = await asyncpg.connect(site.database_url)
    ours = await asyncpg.connect(site.database_url)
    [month, *_] = await months(site.pool)
    async with reader.transaction(isolation="repeatable_read"):
        await reader.fetch("select count(*) from events")
        pid = ours.get_server_pid()
        detaching = asyncio.ensure_future(
            partitions.detach(ours, site.redis, [0], month)
        )
        await _until(
            site, "select inhdetachpending from pg_inherits where inhdetachpending"
        )
        await site.value("select pg_terminate_backend($1)", pid)
        with pytest.raises(asyncpg.PostgresError):
            await detaching
        await is_right(site)
    await reader.close()

    assert "folded" == (await states(site.pool))[0]
    await asyncio.to_thread(cli.document, "partitions", "detach", "--before", "2025-04")
    assert "detached" == (await states(site.pool))[0]
    await is_right(site)


# A process writes --------------------------------------------------------------------


async def test_workers_write_on_while_a_month_goes_and_comes_back(
    site: Site, cli: Cli
) -> None:
    await record(site.pool, *a_history())
    stop = asyncio.Event()
    written: list[int] = []

    async def write(worker: int) -> None:
        numbers = count(1000 * (worker + 1))
        while not stop.is_set():
            # Stragglers, and leads whose customers have rows in the month.
            number = next(numbers)
            who = {"external_id": f"c{number % 40}"}
            batch = [
                a_click(number, at=NOON_MS + number, link_id=LINKS[number % 4]),
                a_lead(next(numbers), at=MAY + number, **who),
                a_click(next(numbers), at=MAY, click_id=an_id(1), link_id=LINKS[1]),
            ]
            await record(site.pool, *batch)
            written.append(len(batch))

    # What workers say would stand among what commands print.
    with capture_logs():
        async with asyncio.TaskGroup() as group:
            for worker in range(2):
                group.create_task(write(worker))
            for _ in range(2):
                for words in (("detach", "--before"), ("attach", "--from")):
                    month = "2025-04" if words[0] == "detach" else "2025-03"
                    await asyncio.to_thread(cli.document, "partitions", *words, month)
                    async with site.pool.acquire() as connection:
                        assert [] == await miscounted(connection)
            await asyncio.to_thread(
                cli.document, "partitions", "detach", "--before", "2025-04"
            )
            stop.set()

    await is_right(site)
    booked = await site.value("select sum(recorded + quarantined)::int from ledger")
    assert 36 + sum(written) == booked
    refused = (
        "select count(*)::int from quarantine where detail not like '%is detached%'"
    )
    assert 0 == await site.value(refused)


async def _until(site: Site, query: str) -> None:
    async with asyncio.timeout(10):
        while not await site.value(query):
            await asyncio.sleep(0.02)
