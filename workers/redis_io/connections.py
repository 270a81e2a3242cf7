"""The kinds of Redis connections of a worker.

A frozen server accepts connections and never answers, so every kind has timeouts. Every pool
waits for a free connection instead of holding a lock while it opens one.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import orjson
from arq.connections import ArqRedis
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.connection import HiredisRespSerializer
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from typing_extensions import override

from workers.model.batch import TransientError
from workers.redis_io.cluster import ShardNode
from workers.redis_io.primary import pool_to

#: How long a read waits for new entries, in milliseconds. Reads are never cancelled, since a
#: cancelled one may have been given entries, so stopping takes as long.
BLOCK_MS: Final = 1000

#: The exceptions of a Redis client.
REDIS_ERRORS: Final = (RedisError, OSError, TimeoutError)

#: What a server answers if the group or the stream is gone; older ones answer a blocked read
#: UNBLOCKED.
_RESETS: Final = ("NOGROUP", "UNBLOCKED")

QUEUE: Final = "rt:arq"

_CONNECT_SECONDS: Final = 2.0
_ANSWER_SECONDS: Final = 2.0
_READER_SECONDS: Final = BLOCK_MS / 1000 + 2.5

#: arq ends its worker on the first error; retries hide short outages from it.
_ARQ_RETRIES: Final = 3


class StreamReset(TransientError):
    """The group or the stream is gone: prepare it and read from the start."""


@contextmanager
def redis_errors() -> Iterator[None]:
    """Translate a Redis client's exceptions: raises StreamReset, or else TransientError."""
    try:
        yield
    except REDIS_ERRORS as error:
        is_reset = any(word in str(error) for word in _RESETS)
        kind = StreamReset if is_reset else TransientError
        raise kind(f"{type(error).__name__}: {error}") from error


def for_reader(url: str, node: ShardNode | None = None) -> Redis:
    """A client for one shard: one connection that blocks, one for the heartbeat.

    It returns stream entries unparsed, as `[id, [field, value, …]]`: to make a dictionary of an
    entry costs more than to read it.
    """
    pool = _pool(url, connections=2, answer=_READER_SECONDS, node=node)
    client = Redis.from_pool(pool)
    for command in ("XREADGROUP", "XAUTOCLAIM"):
        client.set_response_callback(command, _raw_reply)
    return client


def for_jobs(url: str, node: ShardNode | None = None) -> Redis:
    """A client for the short commands of jobs."""
    return Redis.from_pool(_pool(url, connections=4, answer=_ANSWER_SECONDS, node=node))


def for_arq(url: str) -> ArqRedis:
    """A client for arq; jobs are serialised as JSON, since unpickling runs code."""
    retried = [RedisConnectionError, RedisTimeoutError, OSError]
    pool = _pool(
        url,
        connections=10,
        answer=_ANSWER_SECONDS,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), _ARQ_RETRIES),
        retry_on_error=retried,
    )
    return _ArqRedis(
        pool,
        job_serializer=orjson.dumps,
        job_deserializer=orjson.loads,
        default_queue_name=QUEUE,
    )


class _Pipeline(Pipeline):
    """A pipeline that drops its connection without a report.

    arq cancels its jobs. A pipeline that is cancelled while it gives its connection back keeps
    it, and redis-py reports that to the event loop.
    """

    @override
    def __del__(self, *_: object) -> None:
        # The connection closes itself when it is collected.
        self.connection = None


class _ArqRedis(ArqRedis):
    @override
    def pipeline(
        self, transaction: bool = True, shard_hint: str | None = None
    ) -> Pipeline:
        return _Pipeline(
            self.connection_pool, self.response_callbacks, transaction, shard_hint
        )


class _ResetSafeConnection(AbstractConnection):
    """Raises redis-py's ConnectionError for a connection that was reset.

    uvloop raises RuntimeError when one writes to it. Commands are packed by hiredis: redis-py
    copies its buffer for each of an acknowledgement's many ids.
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


def _raw_reply(response: Any, **_kwargs: Any) -> Any:
    return response


def _pool(
    url: str, *, connections: int, answer: float, **more: Any
) -> BlockingConnectionPool:
    return pool_to(
        url,
        connection=_ResetSafeConnection,
        connect_within=_CONNECT_SECONDS,
        max_connections=connections,
        timeout=answer,
        socket_timeout=answer,
        **more,
    )
