"""The kinds of Redis connections that a worker has, and why they differ.

A frozen server accepts connections and never answers, so that
every kind has a limit on waiting; and every pool is one that waits for a connection
instead of holding a lock while it makes one.
"""

from collections.abc import Iterable
from typing import Any, Final

import orjson
from arq.connections import ArqRedis
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.connection import HiredisRespSerializer
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from typing_extensions import override

#: How long a read waits for new entries, in milliseconds. Reads are never cancelled (a
#: cancelled one may have taken entries along), so this is also how long stopping takes.
BLOCK_MS: Final = 1000

#: What a Redis client raises when the server does not answer, or not as asked.
REDIS_TROUBLE: Final = (RedisError, OSError, TimeoutError)

QUEUE: Final = "rt:arq"

_CONNECT_SECONDS: Final = 2.0
_ANSWER_SECONDS: Final = 2.0
_READER_SECONDS: Final = BLOCK_MS / 1000 + 2.5

#: arq ends its worker on the first error it sees; short outages are not to be seen.
_ARQ_RETRIES: Final = 3


def for_reader(url: str) -> Redis:
    """For one shard: a connection that blocks, and one for the heartbeat beside it.

    What it reads of a stream it gives as it came, `[id, [field, value, …]]` for each entry:
    to make a dictionary of every entry costs more than to read it.
    """
    client = Redis.from_pool(_pool(url, connections=2, answer=_READER_SECONDS))
    for command in ("XREADGROUP", "XAUTOCLAIM"):
        client.set_response_callback(command, _as_it_came)
    return client


def for_jobs(url: str) -> Redis:
    """For short commands of the publisher, the heartbeat and the books."""
    return Redis.from_pool(_pool(url, connections=4, answer=_ANSWER_SECONDS))


def for_arq(url: str) -> ArqRedis:
    """For arq; it says what it queues in JSON, since pickles run code."""
    retried = [RedisConnectionError, RedisTimeoutError, OSError]
    pool = _pool(
        url,
        connections=10,
        answer=_ANSWER_SECONDS,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), _ARQ_RETRIES),
        retry_on_error=retried,
    )
    return ArqRedis(
        pool,
        job_serializer=orjson.dumps,
        job_deserializer=orjson.loads,
        default_queue_name=QUEUE,
    )


class _Honest(AbstractConnection):
    """Says of a connection that was reset what redis-py says of all others.

    uvloop has a RuntimeError for whoever writes to one. Its commands are packed by hiredis:
    of the many ids of an acknowledgement redis-py's own way copies what it has once for each.
    """

    _serializer: Final = HiredisRespSerializer()

    @override
    def pack_command(self, *args: Any) -> list[bytes]:
        packed: list[bytes] = self._serializer.pack(*args)
        return packed

    @override
    async def send_packed_command(
        self, command: bytes | str | Iterable[bytes], check_health: bool = True
    ) -> None:
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as error:
            raise RedisConnectionError(str(error)) from error


def _as_it_came(response: Any, **_kwargs: Any) -> Any:
    return response


def _pool(
    url: str, *, connections: int, answer: float, **more: Any
) -> BlockingConnectionPool:
    pool: BlockingConnectionPool = BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=answer,
        socket_connect_timeout=_CONNECT_SECONDS,
        socket_timeout=answer,
        **more,
    )
    kind = pool.connection_class
    pool.connection_class = type(kind.__name__, (_Honest, kind), {})
    return pool
