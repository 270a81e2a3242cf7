"""How little of Redis an edge needs, as the documentation tells operators."""

import re
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from uuid import UUID

import orjson
import pytest
from redis import Redis
from redis.exceptions import ResponseError
from structlog.testing import capture_logs

from ingest.contracts.stream import SHARDS_KEY, events_key
from ingest.contracts.variables import Replicas
from ingest.durable.stream import AppendFailed, Stream
from ingest.redis_io.client import RedisBreaker, connect
from tests.support.edge.showcase import SHOWN, an_edge, publish
from tests.support.servers.valkey import Valkey, running_valkey

PAGE = Path(__file__).parents[3] / "docs" / "threat-model.md"


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running_valkey() as server:
        yield server


@pytest.mark.hasty
@pytest.mark.parametrize("is_synced", [False, True])
async def test_the_rights_of_an_edge_let_it_wait_for_replicas(
    valkey: Valkey, *, is_synced: bool
) -> None:
    [rights] = re.findall(r"ACL SETUSER edge .*", PAGE.read_text("utf-8"))
    with Redis.from_url(valkey.url) as redis:
        assert redis.execute_command(*rights.split())
        wanted = Replicas(1, is_synced=is_synced)
        url = valkey.url.replace("unix://", "unix://edge:PASSWORD@")
        async with aclosing(connect(url, connections=1)) as client:
            stream = Stream(client, 4, RedisBreaker(), wanted)
            with pytest.raises(AppendFailed, match="0 of 1 replicas"):
                await stream.append(UUID(int=1), b"x")
            await stream.drain()

        assert [] == redis.acl_log()


async def test_an_edge_does_with_the_rights_that_the_threat_model_gives_it(
    valkey: Valkey, tmp_path: Path
) -> None:
    [rights] = re.findall(r"ACL SETUSER edge .*", PAGE.read_text("utf-8"))
    with Redis.from_url(valkey.url) as redis:
        assert redis.execute_command(*rights.split())
        await publish(valkey.url)
        url = valkey.url.replace("unix://", "unix://edge:PASSWORD@")
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
        assert "NOPERM" not in str(logs)
        assert [] == redis.acl_log()
        assert redis.exists(SHARDS_KEY, *map(events_key, range(4))) > 1
        assert [*redis.scan_iter("rt:edge-unknown:*")]
    with Redis.from_url(url) as edges:
        for command in (
            ("SET", "rt:dir:key:00", "forged"),
            ("DEL", events_key(0)),
            ("XTRIM", events_key(0), "MAXLEN", "0"),
            ("FLUSHALL",),
            ("CONFIG", "SET", "appendonly", "no"),
            ("EVAL", "return redis.call('DEL', KEYS[1])", "1", events_key(0)),
        ):
            with pytest.raises(ResponseError, match="permission"):
                edges.execute_command(*command)
