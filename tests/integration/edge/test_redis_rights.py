"""How little of Redis an edge needs: the file of users that operators get."""

from collections.abc import Iterator, MutableMapping
from contextlib import aclosing
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
from redis import Redis
from redis.exceptions import ResponseError
from structlog.testing import capture_logs

from ingest.contracts.placement.layout import Layout
from ingest.contracts.stream import SHARDS_KEY, epoch_key, events_key
from ingest.contracts.variables import Replicas
from ingest.durable.servers import one_server
from ingest.durable.stream import AppendFailed, Stream
from ingest.redis_io.client import RedisBreaker, connect
from tests.support.edge.showcase import SHOWN, an_edge, publish
from tests.support.eventually import eventually
from tests.support.servers.valkey import Valkey, running_valkey

USERS = Path(__file__).parents[3] / "scripts" / "deploy" / "redis.acl"


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running_valkey(users=USERS.read_text("utf-8")) as server:
        yield server


@pytest.mark.hasty
@pytest.mark.parametrize("is_synced", [False, True])
async def test_the_rights_of_an_edge_let_it_wait_for_replicas(
    valkey: Valkey, *, is_synced: bool
) -> None:
    with Redis.from_url(valkey.url) as redis:
        wanted = Replicas(1, is_synced=is_synced)
        url = valkey.url.replace("unix://", "unix://edge:EDGE_PASSWORD@")
        async with aclosing(connect(url, connections=1)) as client:
            stream = Stream(
                one_server(client, Layout.at_home(4), RedisBreaker(), wanted)
            )
            with pytest.raises(AppendFailed, match="0 of 1 replicas"):
                await stream.append(UUID(int=1), b"x")
            await stream.drain()

        assert [] == redis.acl_log()


async def test_an_edge_does_with_the_rights_of_its_user(
    valkey: Valkey, tmp_path: Path
) -> None:
    with Redis.from_url(valkey.url) as redis:
        await publish(valkey.url)
        url = valkey.url.replace("unix://", "unix://edge:EDGE_PASSWORD@")
        with capture_logs() as logs:
            async with an_edge(url, tmp_path) as edge:
                for shown in SHOWN:
                    answer = await edge.request(
                        shown.route.method,
                        shown.url,
                        data=orjson.dumps(shown.body),
                        headers=shown.credential("own"),
                    )
                    assert 200 == answer.status, shown.name
                unknown = {"affiliate_url": "https://example.com/?aff=NOBODY"}
                await edge.post("/api/v1/track/click", json=unknown)
                ready = await (await edge.get("/readyz")).json()

        assert "stream" == ready["level"]
        expected = {"checkup.finding", "edge.link_unknown", "edge.refused"}
        assert [] == [line for line in logs if line["event"] not in expected]
        assert [] == [line for line in logs if line.get("check") == "rights"]
        assert "NOPERM" not in str(logs)
        assert [] == redis.acl_log()
        assert redis.exists(SHARDS_KEY, *map(events_key, range(4))) > 1
        assert [*redis.scan_iter("rt:edge-unknown:*")]
    with Redis.from_url(url) as edges:
        # What only workers may.
        for command in (
            ("SET", "rt:worker:w1", "?"),
            ("XACK", events_key(0), "recorder", "0-1"),
            ("XGROUP", "DESTROY", events_key(0), "recorder"),
            ("XREADGROUP", "GROUP", "recorder", "?", "STREAMS", events_key(0), ">"),
            ("DEL", "rt:claim:?"),
            ("SET", events_key(0), "?"),
            ("RENAME", events_key(0), "rt:claim:?"),
            ("XADD", epoch_key(0), "*", "?", "?"),
            ("ZREM", "rt:workers", "?"),
            ("SET", "arq:?", "?"),
            ("SET", "rt:dir:key:00", "forged"),
            ("DEL", events_key(0)),
            ("XTRIM", events_key(0), "MAXLEN", "0"),
            ("FLUSHALL",),
            ("CONFIG", "SET", "appendonly", "no"),
            ("EVAL", "return redis.call('DEL', KEYS[1])", "1", events_key(0)),
        ):
            with pytest.raises(ResponseError, match="permission"):
                edges.execute_command(*command)


async def test_an_edge_says_which_rights_it_lacks(
    valkey: Valkey, tmp_path: Path
) -> None:
    with Redis.from_url(valkey.url) as redis:
        await publish(valkey.url)
        redis.execute_command("ACL", "SETUSER", "edge", "-wait", "-eval")
    url = valkey.url.replace("unix://", "unix://edge:EDGE_PASSWORD@")

    with capture_logs() as logs:
        async with an_edge(url, tmp_path):
            await eventually(lambda: _has_said(logs))

    [said] = [line for line in logs if line.get("check") == "rights"]
    assert ("wrong", "may not EVAL return 1 1 rt:limit:?, WAIT 0 0") == (
        said["level"],
        said["found"],
    )


async def _has_said(logs: list[MutableMapping[str, Any]]) -> bool:
    return any(line.get("check") == "rights" for line in logs)
