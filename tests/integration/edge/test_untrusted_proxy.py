"""An edge tells of a proxy whose X-Forwarded-For it does not believe."""

from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from ingest.contracts.stream import EDGES_KEY, edge_key
from tests.support.edge.showcase import publish
from tests.support.eventually import eventually
from tests.support.servers.edges import recorded
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


async def test_who_forwards_by_a_key_is_believed_and_not_counted(
    redis_url: str, tmp_path: Path
) -> None:
    await publish(redis_url)
    keyed = FORWARDED.replace(b": x", b": x\r\nX-Reftide-Forward: own", 1)
    async with an_edge(redis_url, tmp_path) as edge, edge.caller() as caller:
        for raw in (*[FORWARDED, keyed] * 30, *[FORWARDED] * 10):
            await caller.send(raw)
            assert 200 == (await caller.answer()).status
        # What is published may be of the moment before the last of them.
        await eventually(lambda: counts(redis_url, (40, 70)))

    sealed = Counter(event.client.ip for event in await recorded(redis_url))
    assert {"127.0.0.0": 40, "198.51.100.0": 30} == sealed


async def counts(url: str, expected: tuple[int, int]) -> bool:
    [told] = await forwarders(url)
    assert told is None or told["of"] <= expected[1]
    return told is not None and (told["requests"], told["of"]) == expected


async def publishes(url: str, address: str | None) -> bool:
    found = await forwarders(url)
    return [address] == [each and each["address"] for each in found]
