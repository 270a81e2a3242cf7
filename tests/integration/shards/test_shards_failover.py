"""A replica that lacks what `reftide shards` wrote takes the place of its primary.

It is cut off before the command begins. Events that it does not confirm are on the disks of the
edges meanwhile.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
from redis import Redis

from ingest.contracts.placement.layout import Layout, described
from ingest.contracts.stream import SEALED_ID, SHARDS_KEY, events_key
from scripts.services.shards.changing import Step
from tests.support.eventually import eventually
from tests.support.servers.cli import servers_of
from tests.support.servers.installation import an_installation
from tests.support.servers.valkey import Valkey, running_valkey
from tests.support.streams.apart import Apart, Load
from tests.support.streams.resharding import (
    has_workers,
    renewed_edges,
    renewed_workers,
    waiting_behind,
)

pytestmark = [
    pytest.mark.hasty,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("quiet"),
]

_WORDS = ("shards", "--to", "2", "--drop-entries")


class Pair(NamedTuple):
    """A primary and its replica, behind one address."""

    primary: Valkey
    replica: Valkey
    address: Path

    @property
    def url(self) -> str:
        return f"unix://{self.address}?db=0"

    def fail_over(self) -> None:
        """The replica is the primary, and the former primary its empty replica."""
        self.primary.kill()
        self.address.unlink()
        self.address.symlink_to(self.replica.socket)
        self.primary.lose_its_data()
        self.primary.start()
        self.primary.follow(self.replica)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with running_valkey(port=True) as primary, running_valkey(port=True) as replica:
        address = tmp_path / "address"
        address.symlink_to(primary.socket)
        replica.follow(primary)
        yield Pair(primary, replica, address)


@asynccontextmanager
async def with_four(
    home: str, database_url: str, path: Path, **variables: str
) -> AsyncIterator[tuple[Apart, Load]]:
    """An installation of four shards with an edge and a worker, and what clients sent by then.

    A replica has to confirm events.
    """
    given = {"REFTIDE_SHARDS": "4", "REFTIDE_REPLICAS": "1", **variables}
    async with an_installation(home, database_url, path, **given) as site:
        there = Apart(site, Layout.recorded(await site.redis.get(SHARDS_KEY)))
        # Edges of one process have one name, under which each says what it appended.
        await site.edges.pop().close()
        site.start_worker()
        await eventually(partial(has_workers, there))
        load = Load(site)
        await load.sends(100)
        yield there, load


async def has_workers_of(layout: Layout, there: Apart) -> bool:
    found = await there.document("shards")
    return described(layout.record) in found["workers"]


async def all_is_right(there: Apart, load: Load, layout: Layout) -> None:
    """Everything is recorded once, by workers with these shards, and the ledger says so."""
    now = Apart(there.site, layout)

    async def is_right() -> bool:
        await now.count()
        return bool((await now.document("verify", "--wait", "10"))["ok"])

    await now.settles()
    await eventually(is_right, within=120)
    assert ({}, sorted(load.accepted)) == (load.refused, await now.recorded())


def lengths(server: Valkey, layout: Layout) -> dict[int, int]:
    with Redis.from_url(server.url) as redis:
        return {shard: redis.xlen(events_key(shard)) for shard in layout.numbers}


async def gets_entries(server: Valkey, layout: Layout, load: Load) -> None:
    """Return once an edge has appended something there."""
    before = sum(lengths(server, layout).values())

    async def is_there() -> bool:
        return sum(lengths(server, layout).values()) > before

    async with load.running():
        await eventually(is_there)


def sealed(server: Valkey, layout: Layout) -> set[int]:
    with Redis.from_url(server.url) as redis:
        ids = {
            shard: redis.xinfo_stream(events_key(shard))["last-generated-id"]
            for shard in layout.numbers
        }
    return {shard for shard, last in ids.items() if last == SEALED_ID.encode()}


def test_a_command_that_is_run_again_waits_for_a_replica_that_lags(
    database_url: str, pair: Pair
) -> None:
    cli = servers_of(pair.url, database_url)
    with Redis.from_url(pair.url) as redis:
        redis.set(SHARDS_KEY, 4)
    pair.replica.freeze()
    refused = [cli.run(*_WORDS, "--wait", "0") for _ in range(2)]
    pair.replica.thaw()
    done = cli.document(*_WORDS)

    for each in refused:
        assert 1 == each.code
        assert "replicas of REDIS_URL have not confirmed that shards" in each.err
    assert done["is_done"]
    # The other two have no streams yet.
    assert {2, 3} == sealed(pair.replica, Layout((2, 3), b""))


def test_more_shards_wait_for_no_replica(database_url: str, pair: Pair) -> None:
    cli = servers_of(pair.url, database_url)
    with Redis.from_url(pair.url) as redis:
        redis.set(SHARDS_KEY, 4)
    pair.replica.freeze()

    assert cli.document("shards", "--to", "6", "--wait", "0")["is_done"]

    pair.replica.thaw()


@pytest.mark.parametrize("step", ["sealed", "drained", "agreed", "cleared"])
async def test_a_server_of_streams_fails_over(
    redis_url: str, database_url: str, tmp_path: Path, pair: Pair, step: Step
) -> None:
    former, layout = Layout.apart(4, "1 servers"), Layout.apart(2, "1 servers")
    async with with_four(redis_url, database_url, tmp_path, STREAMS_URL=pair.url) as (
        there,
        load,
    ):
        pair.replica.follow(None)
        async with load.running():
            await load.reaches(20)
            async with waiting_behind(
                step, there.site.variables, tmp_path, *_WORDS
            ) as (process, onward):
                # The ledger knows of entries that the replica lacks.
                await there.count()
                await asyncio.to_thread(pair.fail_over)
                before = lengths(pair.replica, former)
                await load.reaches(50)
                onward.touch()
                # What it is connected to is gone: it says so, and is run again.
                assert await process.wait() in {0, 3}
            if process.returncode:
                assert (await there.document(*_WORDS))["is_done"]
            await renewed_workers(there.site, REFTIDE_SHARDS="2")
            await load.reaches(50)
            gone = {*former.numbers} - {*layout.numbers}
            assert gone == sealed(pair.replica, former)
        await all_is_right(there, load, layout)
    after = lengths(pair.replica, former)
    assert {0} == {after[shard] for shard in gone}
    assert all(after[shard] > before[shard] for shard in layout.numbers)


async def test_former_workers_record_what_a_failover_opened_once_shards_are_agreed_on(
    redis_url: str, database_url: str, tmp_path: Path, pair: Pair
) -> None:
    words = ("shards", "--to", "4", "--streams-url", redis_url, "--drop-entries")
    async with (
        with_four(redis_url, database_url, tmp_path, STREAMS_URL=pair.url) as (
            there,
            load,
        ),
        AsyncExitStack() as stack,
    ):
        site, former = there.site, there.layout
        pair.replica.follow(None)
        async with waiting_behind("opened", site.variables, tmp_path, *words) as (
            process,
            onward,
        ):
            site.stop_workers()
            await asyncio.to_thread(pair.fail_over)
            await gets_entries(pair.replica, former, load)
            onward.touch()
            # What it is connected to is gone, or else nobody records these.
            assert await process.wait() in {1, 3}
        assert b"4" == await site.redis.get(SHARDS_KEY)
        refused = await there.run(*words)
        # As it says.
        site.start_worker()
        await eventually(partial(has_workers_of, former, there))
        done = await there.document(*words)
        ended = await asyncio.to_thread(site.workers[0].wait, 30)
        await renewed_workers(site, STREAMS_URL="", REFTIDE_REPLICAS="0")
        await renewed_edges(there, tmp_path, stack)
        await all_is_right(there, load, Layout.at_home(4))

    assert 1 == refused.code
    assert "No worker that is alive reads them" in refused.err
    assert (True, 1) == (done["is_done"], ended)
    assert {0} == {*lengths(pair.replica, former).values()}


async def test_edges_leave_shards_alone_that_a_failover_opened_after_the_end(
    redis_url: str, database_url: str, tmp_path: Path, pair: Pair
) -> None:
    former, layout = Layout.apart(4, "1 servers"), Layout.apart(2, "1 servers")
    async with with_four(redis_url, database_url, tmp_path, STREAMS_URL=pair.url) as (
        there,
        load,
    ):
        pair.replica.follow(None)
        async with load.running():
            await there.document(*_WORDS)
            await renewed_workers(there.site, REFTIDE_SHARDS="2")
            await asyncio.to_thread(pair.fail_over)
            before = lengths(pair.replica, former)
            await load.reaches(100)
        await all_is_right(there, load, layout)

    assert set() == sealed(pair.replica, former)
    after = lengths(pair.replica, former)
    grown = {shard for shard in former.numbers if after[shard] > before[shard]}
    assert {*layout.numbers} == grown


async def test_a_home_that_fails_over_knows_nothing_of_the_change_which_is_made_again(
    database_url: str, tmp_path: Path, pair: Pair
) -> None:
    former, layout = Layout.at_home(4), Layout.at_home(2)
    async with with_four(pair.url, database_url, tmp_path) as (there, load):
        pair.replica.follow(None)
        async with load.running():
            await there.document(*_WORDS)
            await renewed_workers(there.site, REFTIDE_SHARDS="2")
            await asyncio.to_thread(pair.fail_over)
            before = lengths(pair.replica, former)

            async def wait_unread() -> bool:
                return lengths(pair.replica, former)[3] > before[3]

            await eventually(wait_unread, within=150)
            refused = await there.run(*_WORDS)
            # As it says.
            await renewed_workers(there.site, REFTIDE_SHARDS="4")
            await eventually(partial(has_workers, there))
            assert (await there.document(*_WORDS))["is_done"]
            await renewed_workers(there.site, REFTIDE_SHARDS="2")
        await all_is_right(there, load, layout)

    assert 1 == refused.code
    assert "No worker that is alive reads them" in refused.err
    assert "REFTIDE_SHARDS=4" in refused.err
    assert {2, 3} == sealed(pair.replica, former)
