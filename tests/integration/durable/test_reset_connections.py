"""A connection to Redis that is reset, under the loop that edges and workers run on."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from ingest.redis_io.client import connect
from scripts.bench.environment.loops import runner
from scripts.bench.environment.proxy import HOST, Link
from tests.support.eventually import eventually
from workers.redis_io.connections import for_arq, for_jobs, for_reader


def _edges(url: str) -> Redis:
    return connect(url, connections=1)


@pytest.mark.parametrize("opened", [_edges, for_arq, for_jobs, for_reader])
def test_who_writes_to_a_reset_connection_is_told_as_redis_py_tells_it(
    redis_url: str, opened: Callable[[str], Redis]
) -> None:
    parts = urlsplit(redis_url)
    link = Link("Redis", Path(parts.path) if parts.scheme == "unix" else parts.port)

    async def write() -> None:
        await link.open()
        credentials = parts.netloc.rpartition("@")[0]
        redis = opened(f"redis://{credentials}@{HOST}:{link.port}/0")
        try:
            connection = await redis.connection_pool.get_connection()

            async def is_reset() -> bool:
                return connection._reader.exception() is not None

            link.cut()
            await eventually(is_reset)
            with pytest.raises(RedisConnectionError):
                await connection.send_command("PING")
        finally:
            await redis.aclose()
            await link.close()

    with runner() as loop:
        loop.run(write())
