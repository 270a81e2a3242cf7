"""Streams on a cluster of three primaries, whose nodes die and freeze, and whose slots move."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.contracts.placement.layout import SLOTS, slot_of
from scripts.servers import redis_server
from tests.support.eventually import eventually
from tests.support.servers.outage import cli_of
from tests.support.streams.apart import (
    Apart,
    Load,
    is_reported,
    knows_epochs,
    on_cluster,
)
from tests.support.streams.cluster import Cluster, running_cluster
from workers.erasure.redis_data import rewrite_logs

pytestmark = [
    pytest.mark.hasty,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("quiet"),
]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with running_cluster() as found:
        yield found


async def is_all_right(there: Apart, load: Load) -> None:
    report = await there.settles()
    assert (True, []) == (report["ok"], report["mismatches"])
    assert sorted(load.accepted) == await there.recorded()
    status = await there.document("status", "--window", "0")
    assert (0, 0) == (status["lost"], status["balance"])


async def test_every_node_has_its_share_and_every_command_works(
    redis_url: str, database_url: str, tmp_path: Path, cluster: Cluster
) -> None:
    archive = {
        "REFTIDE_ARCHIVE": str(tmp_path / "archive"),
        "REFTIDE_ARCHIVE_SECONDS": "1",
    }
    async with on_cluster(
        redis_url, database_url, tmp_path, cluster, **archive
    ) as there:
        load = Load(there.site)
        await load.sends(100)
        there.site.start_worker()
        await is_all_right(there, load)

        for node in cluster.primaries:
            keys = await asyncio.to_thread(node.ask, "KEYS", "*:events")
            assert 4 == len(keys)

        async def is_archived() -> bool:
            status = await there.document("status", "--window", "0")
            return bool(status["archive"] and not status["archive"]["entries"])

        await eventually(is_archived, within=120)
        async with redis_server(cli_of(there.site).environment) as redis:
            assert await rewrite_logs(redis, there.layout.numbers) is True
        found = await there.document("doctor")
        assert 3 == len(
            {each["server"] for each in found["checks"] if ":" in each["server"]}
        )
        replayed = await there.document("replay", "--from", "1h", "--mode", "reprocess")
        recorded = await there.recorded()
        # A client that gave up may have sent more; and there is the click that was seeded.
        assert {*load.accepted} <= {*recorded}
        assert len(recorded) + 1 == replayed["unchanged"]
        moved = await there.document("rewind", "--to", "1h")
        assert [*there.layout.numbers] == [each["shard"] for each in moved["shards"]]
        await is_all_right(there, load)


async def test_a_slot_moves_under_load_and_a_node_freezes(
    redis_url: str, database_url: str, tmp_path: Path, cluster: Cluster
) -> None:
    async with on_cluster(redis_url, database_url, tmp_path, cluster) as there:
        there.site.start_worker()
        load = Load(there.site)
        shard, (source, target, _) = there.layout.numbers[0], cluster.primaries
        async with load.running():
            await load.reaches(100)
            await asyncio.to_thread(cluster.move, shard, source, target)
            await load.reaches(100)
            cluster.primaries[2].server.freeze()
            await load.reaches(200)
            cluster.primaries[2].server.thaw()
            await load.reaches(100)
        await is_all_right(there, load)
        assert {} == load.refused
        keys = await asyncio.to_thread(target.ask, "KEYS", "*:events")
        assert 5 == len(keys)


@pytest.fixture
def replicated() -> Iterator[Cluster]:
    with running_cluster(replicas=True) as found:
        yield found


@pytest.mark.slow
async def test_what_replicas_confirmed_outlives_a_primary_a_move_and_a_freeze(
    redis_url: str, database_url: str, tmp_path: Path, replicated: Cluster
) -> None:
    wanted = {"REFTIDE_REPLICAS": "1"}
    async with on_cluster(
        redis_url, database_url, tmp_path, replicated, **wanted
    ) as there:
        there.site.start_worker()
        load = Load(there.site)
        first, second, third = replicated.primaries
        async with load.running():
            await load.reaches(200)
            first.server.kill()
            await load.reaches(500)
            shard = next(
                shard
                for shard in there.layout.numbers
                if SLOTS // 3 < slot_of(shard) < SLOTS * 2 // 3
            )
            await asyncio.to_thread(replicated.move, shard, second, third)
            await load.reaches(200)
            second.server.freeze()
            await load.reaches(500)
            second.server.thaw()
            await load.reaches(200)
        await is_all_right(there, load)
        assert {} == load.refused
        p99 = sorted(load.seconds)[len(load.seconds) * 99 // 100]
        sys.stdout.write(f"{len(load.seconds)} answers, p99 {p99:.3f} s\n")
        assert p99 < 5.0


@pytest.mark.slow
async def test_what_no_replica_had_to_confirm_is_lost_and_reported(
    redis_url: str, database_url: str, tmp_path: Path, replicated: Cluster
) -> None:
    async with on_cluster(redis_url, database_url, tmp_path, replicated) as there:
        # Edges of one process have one name, under which each says what it appended.
        await there.site.edges.pop().close()
        there.site.start_worker()
        load = Load(there.site)
        await load.sends(200)
        await there.settles()
        await eventually(lambda: knows_epochs(there))
        there.site.stop_workers()
        primary, replica = replicated.primaries[0], replicated.replicas[0]
        replica.server.freeze()
        # Or what is appended from now on waits in its socket.
        await asyncio.to_thread(primary.ask, "CLIENT", "KILL", "TYPE", "REPLICA")
        await load.sends(200)
        await there.count()
        primary.server.kill()
        replica.server.thaw()
        await load.sends(200)
        there.site.start_worker()
        await there.settles()
        await eventually(lambda: is_reported(there, load), within=120)
        status = await there.document("status", "--window", "0")
        assert 0 == status["balance"]
