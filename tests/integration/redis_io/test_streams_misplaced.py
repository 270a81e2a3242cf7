"""A STREAMS_URL that does not fit what Redis has: another order, or a server less."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from redis.asyncio import Redis

from ingest.contracts.encoding.envelopes import decode
from ingest.contracts.placement.streams_url import without_secrets
from ingest.contracts.stream import FIELD, PLACE_KEY, events_key, split
from tests.support.environment import inherited
from tests.support.eventually import eventually
from tests.support.servers.cli import Result
from tests.support.servers.failover import edges
from tests.support.servers.installation import ROOT, an_edge
from tests.support.servers.outage import cli_of
from tests.support.servers.worker_process import Worker
from tests.support.streams.apart import Listed, Load, apart

pytestmark = pytest.mark.usefixtures("quiet")

_ORDER = "give all processes the same STREAMS_URL, in the same order"
_SERVERS = (
    "rt:shards in Redis says 12 on 3 servers, but REFTIDE_SHARDS and STREAMS_URL say"
    " 12 on 2 servers: give every process the same"
)


@asynccontextmanager
async def placed(
    redis_url: str, database_url: str, path: Path
) -> AsyncIterator[Listed]:
    """Three servers of which each knows its place, and no edge."""
    async with apart(redis_url, database_url, path) as there:

        async def know_their_places() -> bool:
            found = []
            for server in there.servers:
                async with Redis.from_url(server.url) as redis:
                    found.append(await redis.get(PLACE_KEY))
            return found == [b"1 of 3", b"2 of 3", b"3 of 3"]

        await Load(there.site).sends(30)
        await eventually(know_their_places)
        while there.site.edges:
            await there.site.edges.pop().close()
        yield there


def listing(there: Listed, servers: Sequence[int]) -> dict[str, str]:
    """The variables of a process whose list has these servers, in this order."""
    urls = ",".join(there.servers[each].url for each in servers)
    return {**there.site.variables, "STREAMS_URL": urls}


def named(there: Listed, *servers: int) -> set[str]:
    return {without_secrets(there.servers[each].url) for each in servers}


async def command(there: Listed, servers: Sequence[int], *words: str) -> Result:
    cli = replace(cli_of(there.site), variables=listing(there, servers))
    return await asyncio.to_thread(cli.run, *words)


async def events(there: Listed) -> list[set[UUID]]:
    """The events that each server has, the imported click of the installation among them."""
    found = []
    for server in there.servers:
        of_server: set[UUID] = set()
        async with Redis.from_url(server.url) as redis:
            for shard in there.layout.numbers:
                for _, fields in await redis.xrange(events_key(shard)):
                    of_server |= {decode(raw).id for raw in split(fields[FIELD])}
        found.append(of_server)
    return found


async def test_an_edge_with_another_order_appends_where_the_order_is_the_same(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    async with placed(redis_url, database_url, tmp_path) as there:
        before = await events(there)
        async with an_edge(listing(there, [1, 0, 2]), tmp_path / "other") as edge:
            there.site.edges.append(edge)

            async def has_said_so() -> bool:
                away = [each["streams_away"] for each in await edges(there.site)]
                return any(
                    {*each} == named(there, 0, 1)
                    and all(_ORDER in problem for problem in each.values())
                    for each in away
                )

            await eventually(has_said_so)
            load = Load(there.site, sent=500)
            await load.sends(30)
            there.site.edges.clear()

        after = await events(there)
        assert before[:2] == after[:2]
        assert before[2] < after[2]
        assert len(load.accepted) == len(after[2] - before[2])
        assert {} == load.refused


async def test_an_edge_with_a_server_less_does_not_start(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    async with placed(redis_url, database_url, tmp_path) as there:
        home = {"REFTIDE_DATA": str(tmp_path / "other"), "REFTIDE_PORT": "0"}
        edge = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "ingest",
            env=inherited() | listing(there, [0, 1]) | home,
            cwd=ROOT,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(60):
                _, said = await edge.communicate()
        finally:
            if edge.returncode is None:
                edge.kill()

        assert 0 != edge.returncode
        assert _SERVERS in said.decode()


async def test_a_worker_with_another_order_reads_where_the_order_is_the_same(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    async with placed(redis_url, database_url, tmp_path) as there:
        of_the_third = (await events(there))[2]
        variables = inherited() | listing(there, [1, 0, 2])
        worker = Worker(variables, tmp_path / "worker.log")
        try:

            async def has_said_so() -> bool:
                told = [f"the server of shard {n}: it is" for n in there.of(0)]
                return _ORDER in worker.output and any(
                    each in worker.output for each in told
                )

            await eventually(has_said_so, within=120)

            async def has_recorded() -> bool:
                rows = await there.site.rows("select id from events")
                return of_the_third == {found for (found,) in rows}

            await eventually(has_recorded, within=120)
        finally:
            await worker.stops()
        found = await there.site.rows("select distinct shard from stream_epochs")
        assert {shard for (shard,) in found} <= {*there.of(2)}

        there.site.start_worker()
        report = await there.settles()
        assert (True, []) == (report["ok"], report["mismatches"])


async def test_a_worker_with_a_server_less_does_not_start(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    async with placed(redis_url, database_url, tmp_path) as there:
        variables = inherited() | listing(there, [0, 1])
        worker = Worker(variables, tmp_path / "worker.log")

        assert 0 != await worker.ends(within=120)
        assert _SERVERS in worker.output


async def test_commands_with_another_order_name_the_servers_and_what_to_do(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    async with placed(redis_url, database_url, tmp_path) as there:
        order = [1, 0, 2]
        done = await command(there, order, "status", "--json", "--window", "0")
        assert 3 == done.code
        away = [each for each in done.document["stream_servers"] if each["problem"]]
        assert named(there, 0, 1) == {each["server"] for each in away}
        assert all(_ORDER in each["problem"] for each in away)
        assert [*there.of(2)] == [each["shard"] for each in done.document["shards"]]

        done = await command(there, order, "doctor", "--json")
        assert 1 == done.code
        places = [each for each in done.document["checks"] if each["check"] == "place"]
        wrong = [each for each in places if each["level"] == "wrong"]
        assert 3 == len(places)
        assert named(there, 0, 1) == {each["server"] for each in wrong}
        assert all(_ORDER in each["advice"] for each in wrong)

        done = await command(there, order, "verify", "--json", "--wait", "0")
        assert 3 == done.code
        assert named(there, 0, 1) == {each["server"] for each in done.document["away"]}

        done = await command(there, order, "rewind", "--to", "1h")
        assert 3 == done.code
        assert _ORDER in done.err


async def test_commands_with_a_server_less_say_what_redis_has_and_what_to_do(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    async with placed(redis_url, database_url, tmp_path) as there:
        done = await command(there, [0, 1], "status", "--json", "--window", "0")
        assert 3 == done.code
        (away,) = done.document["away"]
        assert _SERVERS in away["problem"]
        assert "as for the edges and workers" in away["remedy"]

        done = await command(there, [0, 1], "doctor", "--json")
        assert 3 == done.code
        advice = [each["advice"] for each in done.document["checks"]]
        assert [each for each in advice if _SERVERS in each]

        done = await command(there, [0, 1], "verify")
        assert 3 == done.code
        assert _SERVERS in done.err
