"""`REDIS_URL` leads to a node of a cluster: said with what to do, and nothing is lost."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.environment import inherited
from tests.support.eventually import eventually
from tests.support.servers.cli import servers_of
from tests.support.servers.edges import an_edge
from tests.support.servers.worker_process import Worker
from tests.support.streams.cluster import Cluster, running_cluster

_SAID = "it is a node of a cluster"
_REMEDY = "STREAMS_URL=redis+cluster://host:port,host:port"


@pytest.fixture(params=[1, 3], ids=["one node", "three nodes"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with running_cluster(primaries=request.param) as found:
        yield found


@pytest.fixture
def url(cluster: Cluster) -> str:
    return cluster.primaries[0].server.url


@pytest.mark.parametrize(
    "command",
    [
        "doctor", "status", "verify", "shards", "seed", "rewind --group g --to 2h",
        "replay --from 2h", "event x",
    ],
)  # fmt: skip
def test_commands_say_what_to_do(url: str, database_url: str, command: str) -> None:
    done = servers_of(url, database_url).run(*command.split())

    said = " ".join((done.out + done.err).replace("│", " ").split())
    assert 3 == done.code, said
    assert _SAID in said
    assert _REMEDY in said


async def test_a_worker_ends_and_says_what_to_do(
    url: str, database_url: str, tmp_path: Path
) -> None:
    variables = {**inherited(), **servers_of(url, database_url).variables}
    worker = Worker({**variables, "REFTIDE_DATA": str(tmp_path)}, tmp_path / "log")

    assert 2 == await worker.ends(within=40)
    assert _SAID in worker.output
    assert _REMEDY in worker.output
    assert "Traceback" not in worker.output


@pytest.mark.hasty
async def test_an_edge_is_not_ready_and_keeps_events(url: str, tmp_path: Path) -> None:
    async with an_edge(url, tmp_path) as client:

        async def says_so() -> bool:
            answer = await client.get("/readyz")
            return answer.status == 503 and _SAID in await answer.text()

        await eventually(says_so)
        assert 200 == (await client.post("/web/click/ALICE")).status


async def test_a_list_of_its_nodes_is_no_list_of_servers(
    redis_url: str, database_url: str, cluster: Cluster
) -> None:
    urls = ",".join(node.server.url for node in cluster.primaries)
    cli = servers_of(redis_url, database_url)
    variables = {**cli.variables, "STREAMS_URL": urls}
    done = await asyncio.to_thread(type(cli)(variables).run, "verify", "--wait", "0")

    assert 3 == done.code
    said = " ".join((done.out + done.err).split())
    assert f"{_SAID}: a cluster's streams are named by" in said
