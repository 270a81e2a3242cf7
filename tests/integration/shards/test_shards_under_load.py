"""The number and the place of shards change while clients send events: each is recorded once."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from ingest.contracts.placement.layout import Layout, spread
from ingest.contracts.stream import events_key
from tests.support.eventually import eventually
from tests.support.servers.installation import an_installation
from tests.support.servers.valkey import running_valkey
from tests.support.streams.apart import Apart, Load
from tests.support.streams.cluster import running_cluster
from tests.support.streams.resharding import (
    has_workers,
    renewed_edges,
    renewed_workers,
)

pytestmark = [
    pytest.mark.hasty,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("quiet"),
]


@asynccontextmanager
async def with_shards(
    number: int, redis_url: str, database_url: str, path: Path
) -> AsyncIterator[Apart]:
    """So many where `REDIS_URL` leads, two edges, and a worker that has begun."""
    async with an_installation(
        redis_url, database_url, path, REFTIDE_SHARDS=str(number)
    ) as site:
        there = Apart(site, Layout.at_home(number))
        site.start_worker()
        await eventually(partial(has_workers, there))
        yield there


async def is_all_right(there: Apart, load: Load) -> None:
    report = await there.settles()
    assert (True, []) == (report["ok"], report["mismatches"])
    assert {} == load.refused
    assert sorted(load.accepted) == await there.recorded()
    status = await there.document("status", "--window", "0")
    assert (0, 0) == (status["lost"], status["balance"])


async def test_fewer_shards(redis_url: str, database_url: str, tmp_path: Path) -> None:
    async with with_shards(4, redis_url, database_url, tmp_path) as there:
        load = Load(there.site)
        async with load.running():
            await load.reaches(200)
            done = await there.document("shards", "--to", "2", "--drop-entries")
            # Edges and workers that have four go on with those that are left.
            await load.reaches(200)
            ready = [(await edge.get("/readyz")).status for edge in there.site.edges]
            await renewed_workers(there.site, REFTIDE_SHARDS="2")
            await load.reaches(100)

        assert ([0, 1], [2, 3]) == (done["shards"], done["sealed"])
        assert 0 < done["removed"]
        assert [200, 200] == ready
        await is_all_right(there, load)
        kept = [await there.site.redis.xlen(events_key(shard)) for shard in range(4)]
        assert min(kept[:2]) > 0
        assert [0, 0] == kept[2:]


async def test_more_shards(redis_url: str, database_url: str, tmp_path: Path) -> None:
    async with (
        with_shards(2, redis_url, database_url, tmp_path) as there,
        AsyncExitStack() as stack,
    ):
        load = Load(there.site)
        async with load.running():
            await load.reaches(100)
            done = await there.document("shards", "--to", "6")
            await load.reaches(100)
            await renewed_workers(there.site, REFTIDE_SHARDS="6")
            ready = [(await edge.get("/readyz")).status for edge in there.site.edges]
        await renewed_edges(there, tmp_path, stack)
        await load.sends(100)

        assert ([], 0, [200, 200]) == (done["sealed"], done["removed"], ready)
        await is_all_right(there, load)
        assert all(
            [await there.site.redis.xlen(events_key(shard)) for shard in range(6)]
        )


async def test_shards_that_were_sealed_come_back(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    async with with_shards(4, redis_url, database_url, tmp_path) as there:
        load = Load(there.site)

        async def all_filled() -> bool:
            keys = map(events_key, range(4))
            return all([await there.site.redis.xlen(key) for key in keys])

        async with load.running():
            await load.reaches(50)
            await there.document("shards", "--to", "1", "--drop-entries")
            await load.reaches(50)
            await there.document("shards", "--to", "4")
            await eventually(all_filled)

        await is_all_right(there, load)


@pytest.mark.parametrize("place", ["list", "cluster"])
async def test_shards_that_go_to_servers_of_their_own(
    redis_url: str, database_url: str, tmp_path: Path, place: str
) -> None:
    async with AsyncExitStack() as stack:
        if place == "cluster":
            url = stack.enter_context(running_cluster()).url
        else:
            servers = [
                stack.enter_context(running_valkey("everysec", port=True))
                for _ in range(3)
            ]
            url = ",".join(each.url for each in servers)
        async with with_shards(4, redis_url, database_url, tmp_path) as there:
            load = Load(there.site)
            words = ("shards", "--to", "12", "--streams-url", url, "--drop-entries")
            async with load.running():
                await load.reaches(200)
                done = await there.document(*words)
                # All go to the disks of the edges.
                await load.reaches(100)
                ready = [
                    (await edge.get("/readyz")).status for edge in there.site.edges
                ]
            new = {"REFTIDE_SHARDS": "12", "STREAMS_URL": url}
            await renewed_workers(there.site, **new)
            await renewed_edges(there, tmp_path, stack)
            await load.sends(200)

            assert [200, 200] == ready
            assert ([*spread(12)], [0, 1, 2, 3]) == (done["shards"], done["sealed"])
            await is_all_right(there, load)
            found = await there.document("shards")
            assert all(each["entries"] for each in found["shards"])
            assert 3 == len({each["server"] for each in found["shards"]})


async def test_shards_that_go_from_list_to_list_and_home(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        servers = [
            stack.enter_context(running_valkey("everysec", port=True)).url
            for _ in range(4)
        ]
        two, four = ",".join(servers[:2]), ",".join(reversed(servers))
        async with an_installation(
            redis_url, database_url, tmp_path, STREAMS_URL=two, REFTIDE_SHARDS="4"
        ) as site:
            there = Apart(site, Layout.apart(4, "2 servers"))
            load = Load(site)
            site.start_worker()
            await eventually(partial(has_workers, there))
            for number, url in ((8, four), (3, redis_url)):
                words = ("shards", "--to", str(number), "--streams-url", url)
                async with load.running():
                    await load.reaches(100)
                    await there.document(*words, "--drop-entries")
                    await load.reaches(50)
                await renewed_workers(site, REFTIDE_SHARDS=str(number), STREAMS_URL=url)
                await renewed_edges(there, tmp_path, stack)
                await eventually(partial(has_workers, there))

            await load.sends(100)
            await is_all_right(there, load)
            known = [len(await site.redis.keys(f"*{n}}}:events")) for n in range(3)]
            assert [1, 1, 1] == known
