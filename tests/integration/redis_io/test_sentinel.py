"""Sentinels name the primary: real ones, which promote a replica when the primary is gone."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from ingest.redis_io.client import connect
from scripts.bench.environment.processes import free_port
from tests.support.directory import miscounted
from tests.support.eventually import eventually
from tests.support.servers.cli import servers_of
from tests.support.servers.failover import (
    has_compared,
    number_epochs,
    run_of,
    sessions,
    verified,
)
from tests.support.servers.installation import Installation, an_installation
from tests.support.servers.outage import SHARDS, accept, cli_of
from tests.support.servers.sentinels import Watched, watched_servers

#: Nearly all answers take less, outages included: they do not wait for a failover.
MOST_SECONDS = 1.0
_PACE_SECONDS = 0.02
#: Sentinels that were held up for two seconds do nothing for the next thirty, and may be again.
_TILT_SECONDS = 150


pytestmark = [
    pytest.mark.hasty,
    pytest.mark.timeout(500),
    pytest.mark.usefixtures("quiet"),
]


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    async with watched_servers() as found:
        yield found


async def test_a_client_follows_the_primary_and_leaves_one_that_was_demoted(
    watched: Watched,
) -> None:
    redis = connect(watched.url, connections=3)
    await redis.set("key", "first")
    async with Redis(port=watched.sentinels[0]) as sentinel:
        await sentinel.execute_command("SENTINEL", "FAILOVER", "reftide")
    await eventually(watched.has_failed_over, within=_TILT_SECONDS)

    async def is_written() -> bool:
        try:
            return bool(await redis.set("key", "second"))
        except RedisConnectionError:
            return False

    await eventually(is_written)
    info = await redis.info("replication")
    assert "master" == info["role"]
    await redis.aclose()


@asynccontextmanager
async def an_edge_under(
    watched: Watched, database_url: str, path: Path, **variables: str
) -> AsyncIterator[Installation]:
    """An installation with one edge, whose epochs workers have numbered; none runs."""
    shards = {"REFTIDE_SHARDS": str(SHARDS)}
    async with an_installation(
        watched.url, database_url, path, **shards, **variables
    ) as site:
        # Edges of one process have one name, under which each says what it appended.
        await site.edges[1].close()
        await accept(site, range(2))
        await number_epochs(site)
        yield site


class Load:
    """Clients that send one click after the other, until the block ends."""

    def __init__(self, site: Installation) -> None:
        self._site = site
        self._next = count(1_000)
        self._is_over = False
        self.accepted: list[str] = ["s0", "s1"]
        self._seconds: list[float] = []

    async def send(self) -> None:
        while not self._is_over:
            session = next(self._next)
            began = time.monotonic()
            self.accepted += await accept(self._site, range(session, session + 1))
            self._seconds.append(time.monotonic() - began)
            # An edge remembers its latest 10,000 entries of a shard.
            await asyncio.sleep(_PACE_SECONDS)

    def within(self, share: float) -> float:
        """Seconds within which this share of them was answered."""
        return sorted(self._seconds)[int(share * len(self._seconds))]

    async def accepts(self, number: int) -> None:
        """Wait until so many more are accepted."""
        goal = len(self.accepted) + number

        async def is_reached() -> bool:
            return len(self.accepted) >= goal

        await eventually(is_reached, within=120)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(4):
                tasks.create_task(self.send())
            await self.accepts(50)
            yield
            self._is_over = True


async def fail_over_beside_a_primary_that_goes_on(
    watched: Watched, site: Installation
) -> tuple[Load, str]:
    """A replica is promoted while clients still reach the primary; then that is demoted.

    The load, and the run of the former primary.
    """
    load, link = Load(site), watched.nodes[0].link
    former = await run_of(site)
    async with load.running():
        link.cut_off_peers()
        await eventually(watched.has_failed_over, within=_TILT_SECONDS)
        await load.accepts(50)
        link.join_peers()
        await eventually(lambda: has_compared(site, former), within=_TILT_SECONDS)
        await load.accepts(50)
    return load, former


async def test_replicas_that_confirm_lose_nothing_to_a_primary_that_goes_on_alone(
    watched: Watched, database_url: str, tmp_path: Path
) -> None:
    wanted = {"REFTIDE_REPLICAS": "1"}
    async with an_edge_under(watched, database_url, tmp_path, **wanted) as site:
        load, former = await fail_over_beside_a_primary_that_goes_on(watched, site)
        code, report = await verified(site, former)

        assert (0, []) == (code, report["mismatches"])
        assert sorted(load.accepted) == await sessions(site)
        assert load.within(0.95) < MOST_SECONDS
        assert [] == await miscounted(site.database)


async def test_without_them_the_ledger_says_exactly_what_is_lost(
    watched: Watched, database_url: str, tmp_path: Path
) -> None:
    async with an_edge_under(watched, database_url, tmp_path) as site:
        load, former = await fail_over_beside_a_primary_that_goes_on(watched, site)
        code, report = await verified(site, former)

        found = await sessions(site)
        assert len(found) < len(load.accepted), "the edge left the primary too soon"
        lost = [each for each in report["mismatches"] if each["what"] == "lost"]
        assert (1, len(load.accepted) - len(found)) == (
            code,
            sum(each["found"] for each in lost),
        ), report
        assert {*found} <= {*load.accepted}
        assert [] == await miscounted(site.database)


async def test_edges_workers_and_commands_go_on_at_the_primary_that_is_promoted(
    watched: Watched, database_url: str, tmp_path: Path
) -> None:
    wanted = {"REFTIDE_REPLICAS": "1"}
    async with an_edge_under(watched, database_url, tmp_path, **wanted) as site:
        site.start_worker()
        load, former = Load(site), await run_of(site)
        async with load.running():
            watched.nodes[0].link.fall_silent()
            await eventually(watched.has_failed_over, within=_TILT_SECONDS)
            await eventually(lambda: has_compared(site, former), within=_TILT_SECONDS)
            await load.accepts(50)
        code, report = await verified(site, former)

        assert (0, []) == (code, report["mismatches"])
        assert sorted(load.accepted) == await sessions(site)
        assert load.within(0.95) < MOST_SECONDS
        checks = await asyncio.to_thread(cli_of(site).run, "doctor", "--json")
        levels = {each["check"]: each["level"] for each in checks.document["checks"]}
        assert ("ok", "warn") == (levels["role"], levels["replicas"])
        assert [] == await miscounted(site.database)


def test_commands_say_that_no_sentinel_answers(database_url: str) -> None:
    url = f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{free_port()}/reftide"
    done = servers_of(url, database_url).run("doctor")

    assert 3 == done.code
    assert "no sentinel names a primary of 'reftide'" in " ".join(done.out.split())
