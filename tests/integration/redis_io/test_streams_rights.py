"""Servers of streams whose users have the rights of the file that operators get, or fewer."""

import asyncio
from collections.abc import AsyncIterator, Iterator, MutableMapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from redis import Redis
from redis.exceptions import ResponseError
from structlog.testing import capture_logs

from ingest.contracts.placement.layout import Layout
from ingest.contracts.stream import SHARDS_KEY
from tests.support.eventually import eventually
from tests.support.servers.installation import an_edge, an_installation
from tests.support.servers.outage import cli_of
from tests.support.servers.valkey import Valkey, running_valkey
from tests.support.streams.apart import Apart, Load
from tests.support.streams.cluster import running_cluster

pytestmark = pytest.mark.hasty

_FILE = Path(__file__).parents[3] / "scripts" / "deploy" / "redis.acl"
#: Tests themselves, and the nodes of a cluster among each other, are `default`.
USERS = f"user default on nopass ~* &* +@all\n{_FILE.read_text('utf-8')}"
EDGE, WORKER = "edge:EDGE_PASSWORD@", "worker:WORKER_PASSWORD@"


class Servers(NamedTuple):
    """Servers of streams, and the URL without a user."""

    servers: Sequence[Valkey]
    url: str

    def by(self, user: str) -> str:
        return self.url.replace("://", f"://{user}")

    def allow(self, user: str, *rules: str) -> None:
        for server in self.servers:
            with Redis.from_url(server.url) as redis:
                redis.execute_command("ACL", "SETUSER", user, *rules)

    def refused(self) -> list[Any]:
        """What users were refused."""
        found = []
        for server in self.servers:
            with Redis.from_url(server.url) as redis:
                found += redis.acl_log()
        return found


@contextmanager
def _a_list() -> Iterator[Servers]:
    with ExitStack() as stack:
        servers = [
            stack.enter_context(running_valkey("everysec", port=True, users=USERS))
            for _ in range(2)
        ]
        yield Servers(servers, ",".join(each.url for each in servers))


@contextmanager
def _a_cluster() -> Iterator[Servers]:
    with running_cluster(users=USERS) as cluster:
        yield Servers([each.server for each in cluster.primaries], cluster.url)


@pytest.fixture(params=["list", "cluster"])
def guarded(request: pytest.FixtureRequest) -> Iterator[Servers]:
    with (_a_list if request.param == "list" else _a_cluster)() as found:
        yield found


@asynccontextmanager
async def installed(
    redis_url: str, database_url: str, path: Path, guarded: Servers
) -> AsyncIterator[Apart]:
    """One edge as `edge`; workers and commands as `worker`."""
    given = {"STREAMS_URL": guarded.by(WORKER), "REFTIDE_SHARDS": "6"}
    async with an_installation(redis_url, database_url, path, **given) as site:
        while site.edges:
            await site.edges.pop().close()
        variables = {**site.variables, "STREAMS_URL": guarded.by(EDGE)}
        async with an_edge(variables, path / "edge-0") as edge:
            site.edges.append(edge)
            yield Apart(site, Layout.recorded(await site.redis.get(SHARDS_KEY)))


async def rights(there: Apart) -> dict[str, tuple[str, str]]:
    """What `doctor` says of them, by server."""
    done = await asyncio.to_thread(cli_of(there.site).run, "doctor", "--json")
    return {
        each["server"]: (each["level"], each["found"])
        for each in done.document["checks"]
        if each["check"] == "rights" and each["server"] not in {"Redis", "Postgres"}
    }


async def test_they_are_enough_and_doctor_says_what_is_missing(
    redis_url: str, database_url: str, tmp_path: Path, guarded: Servers
) -> None:
    async with installed(redis_url, database_url, tmp_path, guarded) as there:
        there.site.start_worker()
        load = Load(there.site)
        await load.sends(60)
        report = await there.settles()
        enough = await rights(there)
        refused, recorded = guarded.refused(), await there.recorded()
        guarded.allow("worker", "-xtrim")
        fewer = await rights(there)

    assert (True, []) == (report["ok"], report["mismatches"])
    assert sorted(load.accepted) == recorded
    assert [] == refused
    assert {("ok", "all that are needed")} == {*enough.values()}
    assert {("wrong", "may not XTRIM {rt:?}:events MINID 0")} == {*fewer.values()}
    assert len(guarded.servers) == len(enough) == len(fewer)


async def test_an_edge_says_what_is_missing(
    redis_url: str, database_url: str, tmp_path: Path, guarded: Servers
) -> None:
    guarded.allow("edge", "-wait")
    with capture_logs() as logs:
        async with installed(redis_url, database_url, tmp_path, guarded):
            await eventually(lambda: _have_said(logs, len(guarded.servers)))

    said = [line for line in logs if line.get("check") == "rights"]
    assert {("wrong", "may not WAIT 0 0")} == {
        (line["level"], line["found"]) for line in said
    }
    assert len(guarded.servers) == len({line["server"] for line in said})


async def _have_said(logs: list[MutableMapping[str, Any]], servers: int) -> bool:
    return servers == len([line for line in logs if line.get("check") == "rights"])


async def test_an_edge_may_not_do_there_what_workers_do(guarded: Servers) -> None:
    with Redis.from_url(
        guarded.servers[0].url, username="edge", password="EDGE_PASSWORD"
    ) as edge:
        for command in (
            ("XACK", "{rt:0}:events", "recorder", "0-1"),
            ("XTRIM", "{rt:0}:events", "MAXLEN", "0"),
            ("SET", "{rt:0}:epoch", "1"),
            ("DEL", "{rt:0}:events"),
        ):
            with pytest.raises(ResponseError, match="permission"):
                edge.execute_command(*command)
