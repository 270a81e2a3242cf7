"""The edge's Redis clients: bounded waits, circuit breakers, coalesced pipelines."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Generic, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from typing_extensions import override

from ingest.redis_io.primary import pool_to

#: The client's exceptions: no answer, or an error reply.
REDIS_ERRORS: Final = (RedisError, OSError)

#: Parts of what Redis answers to a wrong password, without one, without a right, and to a
#: database that it does not have. redis-py raises a ConnectionError for most of them.
_REFUSALS: Final = (
    "username-password", "invalid password", "Authentication required", "no permissions",
    "DB index",
)  # fmt: skip

_CONNECT_SECONDS: Final = 0.5
#: The default timeout of an answer.
ANSWER_SECONDS: Final = 0.5
#: The timeout for getting a connection from the pool, connecting included.
_READY_SECONDS: Final = 0.5

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class NotSent(RedisConnectionError):
    """The command was not sent: Redis has not run it."""


class RedisBreaker:
    """A circuit breaker: while it is open, Redis is not asked, and nothing waits for it.

    One failure opens it for all clients that share it; the probe closes it.
    """

    def __init__(self) -> None:
        """Begin closed."""
        self.problem: str | None = None
        #: How often it has opened.
        self.openings = 0
        #: Are called when it opens.
        self.watchers: list[Callable[[], None]] = []

    @property
    def is_open(self) -> bool:
        return self.problem is not None

    def trip(self, problem: str) -> None:
        if self.problem is None:
            self.problem = problem
            self.openings += 1
            for opened in self.watchers:
                opened()

    def close(self) -> None:
        self.problem = None

    def refusal(self) -> NotSent:
        """The exception raised while it is open."""
        return NotSent(f"not asked: {self.problem}")


class ResetSafeConnection(AbstractConnection):
    """Raises redis-py's ConnectionError for a connection that was reset.

    uvloop raises RuntimeError when one writes to it. `writer` gives access to an open
    connection without the client.
    """

    @property
    def writer(self) -> asyncio.StreamWriter:
        """The stream of commands; raises RedisConnectionError without a connection."""
        if self._writer is None:
            raise RedisConnectionError("not connected")
        return self._writer

    @override
    async def send_packed_command(
        self, command: bytes | str | Iterable[bytes], check_health: bool = True
    ) -> None:
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as error:
            raise RedisConnectionError(str(error)) from error


class _Guarded(BlockingConnectionPool):
    """A pool that hands out no connections while the breaker is open, and trips it."""

    breaker: RedisBreaker
    #: Openings of the breaker before which no idle connection was made.
    _openings = 0

    @override
    async def get_connection(
        self, command_name: str | None = None, *keys: object, **options: object
    ) -> AbstractConnection:
        if self.breaker.is_open:
            raise self.breaker.refusal()
        if self._openings != self.breaker.openings:
            await self._drop_idle()
        try:
            async with asyncio.timeout(_READY_SECONDS):
                connection: AbstractConnection = await super().get_connection()
                return connection
        except (*REDIS_ERRORS, TimeoutError) as error:
            self.breaker.trip(describe_error(error))
            raise

    async def _drop_idle(self) -> None:
        """Close the connections that were idle in an outage.

        They may lead to a server that is gone, and each would take a timeout to say so.
        """
        self._openings = self.breaker.openings
        for connection in [*self._available_connections]:
            await connection.disconnect(nowait=True)

    @override
    async def release(self, connection: AbstractConnection) -> None:
        # The client closes a connection whose answer timed out.
        if not connection.is_connected:
            self.breaker.trip("Redis does not answer")
        await super().release(connection)


def connect(
    url: str,
    *,
    connections: int,
    answer_within: float | None = None,
    breaker: RedisBreaker | None = None,
) -> Redis:
    """A client that waits at most `answer_within` seconds and sends nothing twice.

    A command that was sent and not answered may have run: sending it again would append
    the same event a second time. With a breaker, nothing is sent while it is open.
    """
    patience = ANSWER_SECONDS if answer_within is None else answer_within
    pool = pool_to(
        url,
        kind=_Guarded if breaker else BlockingConnectionPool,
        connection=ResetSafeConnection,
        connect_within=_CONNECT_SECONDS,
        max_connections=connections,
        timeout=patience,
        socket_timeout=patience,
        # Without a list of errors, only connecting would be retried; zero retries stop that.
        retry=Retry(NoBackoff(), 0),
    )
    if isinstance(pool, _Guarded) and breaker:
        pool.breaker = breaker
    return Redis.from_pool(pool)


def breaker_of(redis: Redis) -> RedisBreaker | None:
    """The breaker of a client, if it has one."""
    pool = redis.connection_pool
    return pool.breaker if isinstance(pool, _Guarded) else None


def describe_error(error: BaseException) -> str:
    """An error in one line; a timeout has no message of its own."""
    return f"{type(error).__name__}: {error}"


def is_refused(error: BaseException) -> bool:
    """Whether Redis is there, and does not let this caller in."""
    return any(words in str(error) for words in _REFUSALS)


class QueueFull(Exception):
    """Too many requests are waiting."""


class Coalescer(Generic[Item, Answer]):
    """Gathers the items that arrive during a flush into the next one.

    There is no timer: an idle coalescer flushes at once. Flushes run in tasks of their own
    that outlive requests, since the client drops a connection whose pipeline is cancelled.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]],
        *,
        in_flight: int,
        per_flush: int = 500,
        pending: int = 10_000,
    ) -> None:
        """`flush` returns an answer for every item, in order; its exceptions reach them all."""
        self._flush = flush
        self._in_flight = in_flight
        self._per_flush = per_flush
        self._queue: asyncio.Queue[tuple[Item, asyncio.Future[Answer]]]
        self._queue = asyncio.Queue(pending)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._serve()) for _ in range(self._in_flight)
        ]

    async def ask(self, item: Item) -> Answer:
        """The answer to one item; raises QueueFull, or what the flush raised."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        try:
            self._queue.put_nowait((item, future))
        except asyncio.QueueFull:
            raise QueueFull from None
        return await future

    async def stop(self) -> None:
        """Return when every item has its answer."""
        await self._queue.join()
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    async def _serve(self) -> None:
        while True:
            batch = [await self._queue.get()]
            while len(batch) < self._per_flush and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            await self._answer(batch)

    async def _answer(self, batch: list[tuple[Item, asyncio.Future[Answer]]]) -> None:
        # A caller that gave up waiting has already reported a failure.
        awaited = [each for each in batch if not each[1].done()]
        try:
            answers = (
                await self._flush([item for item, _ in awaited]) if awaited else []
            )
            for (_, future), answer in zip(awaited, answers, strict=True):
                if not future.done():
                    future.set_result(answer)
        except Exception as error:  # noqa: BLE001 -- raised in everyone who waits
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
        finally:
            for _ in batch:
                self._queue.task_done()
