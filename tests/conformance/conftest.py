"""Edges over HTTP and a real stream, for the modules that share one among their tests."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from ingest.contracts.stream import events_key
from tests.support.edge.batching import Edge, published
from tests.support.edge.showcase import Client, an_edge, publish
from tests.support.servers.valkey import running_valkey

#: One server and few edges for all tests of a module, which uses either kind of edge.
shared = pytest_asyncio.fixture(scope="module", loop_scope="module")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_valkey() as valkey:
        yield valkey.url


@shared
async def started(
    url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Edge]:
    await published(url)
    async with an_edge(url, tmp_path_factory.mktemp("edge")) as client:
        yield Edge(client, url)


@pytest_asyncio.fixture(loop_scope="module")
async def edge(started: Edge) -> Edge:
    """An edge whose directory knows all that the examples name, and nothing else yet."""
    async with Redis.from_url(started.url) as redis:
        keys = [key async for key in redis.scan_iter("rt:*") if is_memory(key)]
        await redis.delete(*keys, *(events_key(shard) for shard in range(4)))
    return started


def is_memory(key: bytes) -> bool:
    """Whether a key is what edges remember of requests."""
    return key.startswith((b"rt:claim:", b"rt:seen:", b"rt:new:", b"rt:limit:"))


@shared
async def client(
    url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Client]:
    """An edge whose directory knows all that the examples name, and has no limits."""
    await publish(url)
    async with an_edge(url, tmp_path_factory.mktemp("edge")) as made:
        yield made
