"""A Valkey of its own for each test, which may kill it."""

from collections.abc import AsyncIterator, Iterator

import pytest

from ingest.redis_io.client import connect
from tests.support.edge.directories import Publisher
from tests.support.servers.valkey import Valkey, running_valkey


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running_valkey() as server:
        yield server


@pytest.fixture
async def publisher(valkey: Valkey) -> AsyncIterator[Publisher]:
    redis = connect(valkey.url, connections=2)
    made = Publisher(redis)
    await made.begin()
    yield made
    await redis.aclose()
