"""Streams on three servers of their own, and a Redis at home for all else."""

import asyncio
import time
from collections import Counter
from pathlib import Path

import pytest
from redis.asyncio import Redis

from ingest.contracts.stream import SHARDS_KEY, events_key
from tests.support.eventually import eventually
from tests.support.servers.cli import Cli
from tests.support.servers.installation import an_installation
from tests.support.streams.apart import Listed, Load, apart, is_reported, knows_epochs

pytestmark = [pytest.mark.hasty, pytest.mark.usefixtures("quiet")]


async def entries_of(there: Listed, server: int) -> Counter[int]:
    """How many entries the shards of a server have."""
    async with Redis.from_url(there.servers[server].url) as redis:
        lengths = {n: await redis.xlen(events_key(n)) for n in there.layout.numbers}
    return Counter({shard: count for shard, count in lengths.items() if count})


async def test_each_server_has_its_shards_and_home_has_none(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    async with apart(redis_url, database_url, tmp_path) as there:
        load = Load(there.site)
        await load.sends(150)
        there.site.start_worker()

        report = await there.settles()

        assert (True, []) == (report["ok"], report["mismatches"])
        assert sorted(load.accepted) == await there.recorded()
        for server in range(3):
            found = await entries_of(there, server)
            assert found
            assert {*found} <= {*there.of(server)}
        assert [] == [key async for key in there.site.redis.scan_iter("{rt:*")]


async def test_every_command_knows_where_the_streams_are(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    archive = {
        "REFTIDE_ARCHIVE": str(tmp_path / "archive"),
        "REFTIDE_ARCHIVE_SECONDS": "1",
    }
    async with apart(redis_url, database_url, tmp_path, **archive) as there:
        load = Load(there.site)
        await load.sends(40)
        there.site.start_worker()
        await there.settles()

        async def is_archived() -> bool:
            status = await there.document("status", "--window", "0")
            return bool(status["archive"] and not status["archive"]["entries"])

        await eventually(is_archived, within=120)
        status = await there.document("status", "--window", "0")
        assert [*there.layout.numbers] == [each["shard"] for each in status["shards"]]
        assert (0, 0) == (status["lost"], status["balance"])

        found = await there.document("doctor")
        ours = [each for each in found["checks"] if "vk" in each["server"]]
        assert 3 == len({each["server"] for each in ours})
        assert "wrong" not in {each["level"] for each in ours}, ours

        replayed = await there.document("replay", "--from", "1h", "--mode", "reprocess")
        recorded = await there.recorded()
        # A client that gave up may have sent more; and there is the click that was seeded.
        assert {*load.accepted} <= {*recorded}
        assert len(recorded) + 1 == replayed["unchanged"]
        moved = await there.document("rewind", "--to", "1h")
        assert [*there.layout.numbers] == [each["shard"] for each in moved["shards"]]
        report = await there.settles()
        assert (True, []) == (report["ok"], report["mismatches"])
        assert sorted(load.accepted) == await there.recorded()


async def test_a_frozen_server_slows_no_other_and_loses_nothing(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    async with apart(redis_url, database_url, tmp_path) as there:
        there.site.start_worker()
        load = Load(there.site)
        async with load.running():
            await load.reaches(100)
            there.servers[1].freeze()
            try:
                await load.reaches(300)
                began = time.monotonic()
                done = await there.run("status", "--json", "--window", "0")
                assert time.monotonic() - began < 15.0
                assert 3 == done.code
                assert f"{there.of(1)[0]}, {there.of(1)[1]}" in done.out
            finally:
                there.servers[1].thaw()
            await load.reaches(100)

        report = await there.settles()

        assert (True, []) == (report["ok"], report["mismatches"])
        assert sorted(load.accepted) == await there.recorded()
        assert {} == load.refused
        # An answer waits for its own server at most, until that is given up.
        assert max(load.seconds) < 5.0


async def test_what_a_killed_server_took_along_is_lost_and_reported(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    async with apart(redis_url, database_url, tmp_path) as there:
        # Edges of one process have one name, under which each says what it appended.
        await there.site.edges.pop().close()
        there.site.start_worker()
        load = Load(there.site)
        await load.sends(100)
        await there.settles()
        await eventually(lambda: knows_epochs(there))
        there.site.stop_workers()
        await load.sends(60)
        # As workers do every few seconds: the click that was seeded is no edge's.
        await there.count()
        there.servers[2].kill()
        await load.sends(60)
        there.servers[2].lose_its_data()
        there.servers[2].start()
        there.site.start_worker()
        await there.settles()
        await eventually(lambda: is_reported(there, load))
        status = await there.document("status", "--window", "0")
        assert 0 < status["lost"] == len(load.accepted) - len(await there.recorded())
        assert 0 == status["balance"]


async def test_an_installation_moves_its_streams_when_they_are_read(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    async with an_installation(redis_url, database_url, tmp_path) as site:
        before = Load(site)
        await before.sends(40)
        site.start_worker()
        await site.rests()
        elsewhere = dict(site.variables, STREAMS_URL="redis://127.0.0.1:1")
        done = await asyncio.to_thread(Cli(elsewhere).run, "verify")
        assert 3 == done.code
        assert "rt:shards in Redis says 4" in done.err
        await site.redis.delete(SHARDS_KEY)

    async with apart(redis_url, database_url, tmp_path / "new") as there:
        after = Load(there.site, sent=1000)
        await after.sends(40)
        there.site.start_worker()
        report = await there.settles()
        await there.count()

        assert (True, []) == (report["ok"], report["mismatches"])
        assert sorted([*before.accepted, *after.accepted]) == await there.recorded()
        status = await there.document("status", "--window", "0")
        assert (0, 0) == (status["lost"], status["balance"])
