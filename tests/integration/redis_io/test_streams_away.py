"""What commands say while some of the servers of streams are away."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from ingest.contracts.placement.streams_url import without_secrets
from tests.support.eventually import eventually
from tests.support.servers.outage import cli_of
from tests.support.streams.apart import Apart, Listed, Load, apart, on_cluster
from tests.support.streams.cluster import running_cluster

pytestmark = [pytest.mark.hasty, pytest.mark.usefixtures("quiet")]

#: What is frozen is given up after one or two seconds.
_SECONDS = 15.0
_NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


async def recorded(there: Apart) -> None:
    """Some events, by a worker that is gone then."""
    await Load(there.site).sends(60)
    there.site.start_worker()
    await there.settles()
    there.site.stop_workers()


@asynccontextmanager
async def two_away(
    redis_url: str, database_url: str, path: Path
) -> AsyncIterator[Listed]:
    """The second of three servers is frozen, and the third killed; workers saw all before."""
    async with apart(redis_url, database_url, path) as there:
        load = Load(there.site)
        await load.sends(60)
        there.site.start_worker()
        await there.settles()

        async def are_seen() -> bool:
            found = await there.site.rows("select distinct shard from stream_epochs")
            return len(found) == len(there.layout.numbers)

        await eventually(are_seen, within=120)
        there.site.stop_workers()
        there.servers[2].kill()
        there.servers[1].freeze()
        try:
            yield there
        finally:
            there.servers[1].thaw()
            there.servers[2].start()


def names(there: Listed) -> list[str]:
    return [without_secrets(server.url) for server in there.servers]


def by_server(rows: Any) -> dict[str, Any]:
    return {row["server"]: row for row in rows}


async def test_status_shows_the_shards_that_answer_and_names_the_others(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    async with two_away(redis_url, database_url, tmp_path) as there:
        began = time.monotonic()
        done = await there.run("status", "--json")
        assert time.monotonic() - began < _SECONDS
        shown = " ".join((await there.run("status", "--window", "0")).out.split())

        assert 3 == done.code
        status = done.document
        assert {"redis": True, "postgres": True, "streams": False} == status[
            "reachable"
        ]
        assert [*there.of(0)] == [each["shard"] for each in status["shards"]]
        assert len(await there.recorded()) + 1 == status["recorded"]
        assert (0, 0) == (status["lag_seconds"], status["in_flight"])
        assert (None, None) == (status["accepted"], status["balance"])
        assert status["redis_memory_bytes"] > 0
        servers, (first, *away) = by_server(status["stream_servers"]), names(there)
        assert servers[first]["problem"] is None
        assert servers[first]["entries"] > 0
        assert servers[first]["memory_bytes"] > 0
        for place, name in enumerate(away, 1):
            assert [*there.of(place)] == servers[name]["shards"]
            assert servers[name]["problem"]
            assert servers[name]["answered_at"]
            assert f"{name} last answered at" in shown
            assert f"{name}, which has shards" in shown
        found = [each["server"] for each in status["findings"] if "server" in each]
        assert sorted(away) == sorted(found)
        assert "no, as far as PostgreSQL knows" in shown


async def test_status_shows_them_without_postgres_and_without_any_server(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    async with two_away(redis_url, database_url, tmp_path) as there:
        cli = cli_of(there.site)
        variables = {**cli.variables, "DATABASE_URL": _NOWHERE}
        alone = replace(cli, variables=variables)

        words = "status", "--json", "--window", "0"
        status = (await asyncio.to_thread(alone.run, *words)).document
        assert {"redis": True, "postgres": False, "streams": False} == status[
            "reachable"
        ]
        assert [*there.of(0)] == [each["shard"] for each in status["shards"]]

        there.servers[0].freeze()
        try:
            status = (await there.run(*words)).document
            shown = await there.run("status", "--window", "0")
        finally:
            there.servers[0].thaw()
        assert [] == status["shards"]
        assert 3 == len([each for each in status["stream_servers"] if each["problem"]])
        assert (None, None) == (status["lag_seconds"], status["in_flight"])
        assert 3 == shown.code


async def test_verify_compares_what_can_be_read_and_is_not_content(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    async with two_away(redis_url, database_url, tmp_path) as there:
        began = time.monotonic()
        done = await there.run("verify", "--json", "--wait", "0")
        assert time.monotonic() - began < _SECONDS
        shown = await there.run("verify", "--wait", "0")

        assert (3, 3) == (done.code, shown.code)
        report = done.document
        assert (False, [], False) == (
            report["ok"],
            report["mismatches"],
            report["settled"],
        )
        assert report["compared"]["entries"] > 0
        away = by_server(report["away"])
        for place, name in enumerate(names(there)[1:], 1):
            assert [*there.of(place)] == away[name]["shards"]
            assert f"{name}, which has shards" in shown.out
            assert "It last answered at 20" in shown.out


async def test_doctor_checks_the_servers_that_answer_and_names_the_others(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    async with two_away(redis_url, database_url, tmp_path) as there:
        began = time.monotonic()
        done = await there.run("doctor", "--json")
        assert time.monotonic() - began < _SECONDS

        assert 3 == done.code
        first, *away = names(there)
        reach = by_server(
            each for each in done.document["checks"] if each["check"] == "reach"
        )
        assert {*away} == {*reach}
        for place, name in enumerate(away, 1):
            shards = ", ".join(map(str, there.of(place)))
            assert f"it has shards {shards}" in reach[name]["advice"]
            assert "workers last saw its streams at 20" in reach[name]["found"]
        assert [] != [
            each for each in done.document["checks"] if each["server"] == first
        ]


async def test_status_gives_up_servers_that_hang_once_they_have_answered(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    async with apart(redis_url, database_url, tmp_path) as there:
        await Load(there.site).sends(30)
        async with (
            Redis.from_url(there.servers[1].url) as one,
            Redis.from_url(there.servers[2].url) as other,
        ):
            for redis in (one, other):
                # Reads are answered; scripts wait, since they may write.
                await redis.client_pause(60_000, all=False)
            try:
                began = time.monotonic()
                done = await there.run("status", "--json", "--window", "0")
                seconds = time.monotonic() - began
            finally:
                for redis in (one, other):
                    await redis.client_unpause()

        assert seconds < _SECONDS
        assert 3 == done.code
        servers = by_server(done.document["stream_servers"])
        away = {name for name, row in servers.items() if row["problem"]}
        assert {*names(there)[1:]} == away
        assert [*there.of(0)] == [each["shard"] for each in done.document["shards"]]


async def test_on_a_cluster_commands_show_the_shards_of_the_other_nodes(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    with running_cluster() as cluster:
        async with on_cluster(redis_url, database_url, tmp_path, cluster) as there:
            await recorded(there)
            gone = {each for each in there.layout.numbers if cluster.owner(each) == 2}
            cluster.primaries[2].server.freeze()
            try:
                began = time.monotonic()
                status = await there.run("status", "--json", "--window", "0")
                seconds = time.monotonic() - began
                verify = await there.run("verify", "--json", "--wait", "0")
                doctor = await there.run("doctor", "--json")
            finally:
                cluster.primaries[2].server.thaw()

        assert (4, 3, 3, 3) == (len(gone), status.code, verify.code, doctor.code)
        assert seconds < _SECONDS
        found = status.document
        assert {"redis": True, "postgres": True, "streams": False} == found["reachable"]
        assert {*there.layout.numbers} - gone == {
            each["shard"] for each in found["shards"]
        }
        away = [each for each in found["stream_servers"] if each["problem"]]
        assert gone == {shard for each in away for shard in each["shards"]}
        assert gone == {
            shard for each in verify.document["away"] for shard in each["shards"]
        }
        assert verify.document["compared"]["entries"] > 0
