"""A list of servers with TLS, users and passwords."""

import asyncio
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from ingest.contracts.placement.layout import Layout
from ingest.contracts.stream import SHARDS_KEY
from scripts.services.observe import spools
from tests.support.environment import inherited
from tests.support.eventually import eventually
from tests.support.servers.cli import Result
from tests.support.servers.failover import edges
from tests.support.servers.installation import an_edge, an_installation
from tests.support.servers.outage import cli_of
from tests.support.servers.worker_process import Worker
from tests.support.streams.apart import Apart, Load
from tests.support.streams.encrypted import (
    PASSWORD,
    USER,
    Encrypted,
    encrypted,
    encrypted_cluster,
)

pytestmark = pytest.mark.hasty

_WRONG = "not the password"


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[Any]]:
    """What edges in this process say."""
    with capture_logs() as found:
        yield found


@asynccontextmanager
async def installed(
    redis_url: str, database_url: str, path: Path
) -> AsyncIterator[tuple[Apart, Sequence[Encrypted]]]:
    """An installation with its streams on three of them."""
    async with encrypted(path) as servers:
        given = {"STREAMS_URL": ",".join(each.url() for each in servers)}
        async with an_installation(redis_url, database_url, path, **given) as site:
            layout = Layout.recorded(await site.redis.get(SHARDS_KEY))
            yield Apart(site, layout), servers


async def users_of(server: Encrypted) -> set[str]:
    """Whose connections a server has, that of this question left out."""
    async with Redis.from_url(server.server.url) as redis:
        found = await redis.client_list()
        ours = await redis.client_id()
    return {each["user"] for each in found if int(each["id"]) != ours}


async def command(there: Apart, urls: Sequence[str], *words: str) -> Result:
    variables = {**there.site.variables, "STREAMS_URL": ",".join(urls)}
    cli = replace(cli_of(there.site), variables=variables)
    return await asyncio.to_thread(cli.run, *words)


async def test_edges_workers_and_commands_work_and_tell_nobody_the_password(
    redis_url: str, database_url: str, tmp_path: Path, logged: list[Any]
) -> None:
    async with installed(redis_url, database_url, tmp_path) as (there, servers):
        load = Load(there.site)
        await load.sends(60)
        worker = Worker(inherited() | there.site.variables, tmp_path / "worker.log")
        try:
            report = await there.settles()
            assert [{USER}] * 3 == [await users_of(each) for each in servers]
        finally:
            await worker.stops()

        assert (True, []) == (report["ok"], report["mismatches"])
        assert sorted(load.accepted) == await there.recorded()
        said = [str(logged), worker.output]
        for words in (["status", "--window", "0"], ["doctor"], ["doctor", "--json"]):
            done = await there.run(*words)
            said += [done.out, done.err]
        checks = (await there.document("doctor"))["checks"]
        for server in servers:
            found = [each for each in checks if each["server"] == server.name]
            assert found
            assert "wrong" not in {each["level"] for each in found}, found
        for text in said:
            assert PASSWORD not in text
            assert quote(PASSWORD, safe="") not in text


Ask = Callable[..., Awaitable[Result]]
Rows = Sequence[Mapping[str, Any]]


async def away_in_status(ask: Ask) -> Rows:
    done = await ask("status", "--json", "--window", "0")
    assert 3 == done.code
    return [each for each in done.document["stream_servers"] if each["problem"]]


async def unreached_by_doctor(ask: Ask) -> Rows:
    done = await ask("doctor", "--json")
    assert 3 == done.code
    return [each for each in done.document["checks"] if each["check"] == "reach"]


async def eventually_one(rows: Callable[[], Awaitable[Rows]]) -> Rows:
    """What a command says once it names one server.

    It gives up each of them soon; on a slow machine one that lets it in may answer later.
    """
    found: list[Rows] = []

    async def is_one() -> bool:
        found.append(await rows())
        assert found[-1]
        return 1 == len(found[-1])

    await eventually(is_one, within=150)
    return found[-1]


def urls_of(servers: Sequence[Encrypted], changed: dict[str, Any]) -> list[str]:
    """Of which the second is not as it has to be."""
    return [servers[0].url(), servers[1].url(**changed), servers[2].url()]


_REFUSED = pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"password": _WRONG}, "invalid username-password"),
        ({"trusts": False}, "certificate verify failed"),
    ],
)


@_REFUSED
async def test_commands_name_a_server_that_lets_nobody_in_and_what_to_do(
    redis_url: str,
    database_url: str,
    tmp_path: Path,
    changed: dict[str, Any],
    problem: str,
) -> None:
    async with installed(redis_url, database_url, tmp_path) as (there, servers):
        urls = urls_of(servers, changed)

        ask = partial(command, there, urls)

        [away] = await eventually_one(partial(away_in_status, ask))
        assert servers[1].name == away["server"]
        assert problem in away["problem"]
        is_refused = "password" in changed
        assert is_refused == ("correct the password" in away["remedy"])

        [reach] = await eventually_one(partial(unreached_by_doctor, ask))
        assert servers[1].name == reach["server"]
        assert problem in reach["found"]


async def has_brought_all(data: Path) -> bool:
    """Whether nothing is on an edge's disk: a server may have been slow."""
    return not await asyncio.to_thread(spools.count, data)


@_REFUSED
async def test_an_edge_appends_to_the_servers_that_let_it_in(
    redis_url: str,
    database_url: str,
    tmp_path: Path,
    changed: dict[str, Any],
    problem: str,
) -> None:
    async with installed(redis_url, database_url, tmp_path) as (there, servers):
        wrong = servers[1].name
        while there.site.edges:
            await there.site.edges.pop().close()
        variables = {
            **there.site.variables,
            "STREAMS_URL": ",".join(urls_of(servers, changed)),
        }
        async with an_edge(variables, tmp_path / "other") as edge:
            there.site.edges.append(edge)

            async def has_said_so() -> bool:
                away = [each["streams_away"] for each in await edges(there.site)]
                return any(
                    {wrong} == {*each} and problem in each[wrong] for each in away
                )

            await eventually(has_said_so, within=150)
            load = Load(there.site)
            await load.sends(30)
            await eventually(partial(has_brought_all, tmp_path / "other"))
            there.site.edges.clear()
        assert {} == load.refused
        there.site.start_worker()
        await there.settles()
        assert sorted(load.accepted) == await there.recorded()


async def test_a_cluster_behind_tls_takes_events_and_answers_commands(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    async with encrypted_cluster(tmp_path) as url:
        # Commands connect to each shard, through a relay in this process.
        given = {"STREAMS_URL": url, "REFTIDE_SHARDS": "3"}
        async with an_installation(redis_url, database_url, tmp_path, **given) as site:
            layout = Layout.recorded(await site.redis.get(SHARDS_KEY))
            there, load = Apart(site, layout), Load(site)
            await load.sends(60)
            worker = Worker(inherited() | site.variables, tmp_path / "worker.log")
            try:
                report = await there.settles()
            finally:
                await worker.stops()
            shown = await there.run("shards")
            said = [worker.output, shown.out, (await there.run("doctor")).out]

            assert (True, []) == (report["ok"], report["mismatches"])
            assert sorted(load.accepted) == await there.recorded()

        assert 3 == shown.out.count("{rt:")
        for text in said:
            assert PASSWORD not in text
            assert quote(PASSWORD, safe="") not in text
