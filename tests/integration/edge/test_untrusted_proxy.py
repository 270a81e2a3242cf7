"""An edge tells of a proxy whose X-Forwarded-For it does not believe."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from ingest.contracts.stream import EDGES_KEY, edge_key
from tests.support.edge.showcase import publish
from tests.support.eventually import eventually
from tests.support.servers.raw_http import WHOLE, an_edge

FORWARDED = WHOLE.replace(b": x", b": x\r\nX-Forwarded-For: 198.51.100.7")
#: By this header a request is not plain; it changes nothing else.
SPECIAL = FORWARDED.replace(b": x", b": x\r\nContent-Encoding: identity")


async def forwarders(url: str) -> list[Any]:
    async with Redis.from_url(url) as redis:
        names = await redis.zrange(EDGES_KEY, 0, -1)
        told = [await redis.get(edge_key(name.decode())) for name in names]
    return [orjson.loads(raw)["forwarder"] for raw in told if raw]


@pytest.mark.parametrize("request_", [FORWARDED, SPECIAL], ids=["plain", "other"])
async def test_who_forwards_most_requests_is_published(
    redis_url: str, tmp_path: Path, request_: bytes
) -> None:
    await publish(redis_url)
    async with an_edge(redis_url, tmp_path) as edge, edge.caller() as caller:
        await eventually(lambda: publishes(redis_url, None))
        for _ in range(30):
            await caller.send(request_)
            assert 200 == (await caller.answer()).status

        await eventually(lambda: publishes(redis_url, "127.0.0.1"))


async def publishes(url: str, address: str | None) -> bool:
    found = await forwarders(url)
    return [address] == [each and each["address"] for each in found]
