"""A conversation with Redis that many requests hold at once.

What is asked within one turn of the event loop leaves in one write, and nothing waits for
earlier answers before it is sent: Redis answers in the order of the questions. A client
that takes a connection for every command, or for every batch, costs several times more.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import msgspec
from hiredis import Reader, pack_command
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ingest.contracts.telemetry import Log
from ingest.redis_io import client
from ingest.redis_io.client import (
    REDIS_ERRORS,
    QueueFull,
    RedisBreaker,
    ResetSafeConnection,
    breaker_of,
)

#: Whoever looks so much later than he meant to is busy himself.
_BUSY_SECONDS: Final = 0.05
_CHUNK: Final = 1 << 16

#: A command as it goes over the wire, made of its words.
packed: Final[Callable[[tuple[bytes | str | int, ...]], bytes]] = pack_command  # type: ignore[assignment]

_INCOMPLETE: Final = object()


class _Question(msgspec.Struct, frozen=True):
    """Who waits for the next answer but so many, and until when."""

    answer: asyncio.Future[Any]
    until: float


class Multiplexer:
    """One connection. It is opened by the first question and again after any trouble."""

    def __init__(self, redis: Redis, *, pending: int) -> None:
        """No more than `pending` questions wait for an answer."""
        self._pool = redis.connection_pool
        self._breaker: RedisBreaker | None = breaker_of(redis)
        self._pending = pending
        self._asked: deque[_Question] = deque()
        self._unsent: list[bytes] = []
        self._writer: asyncio.StreamWriter | None = None
        # To ask for it every time costs a system call, before Python 3.12.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._trouble: Exception
        self._talk: asyncio.Task[None] | None = None
        self._log = Log()

    def ask(self, command: bytes) -> asyncio.Future[Any]:
        """The answer to a packed command, to be awaited; raises QueueFull.

        It may be an exception, and is never raised: a ResponseError is what the server
        said, any other means that no answer came. The command may have run all the same.
        """
        if len(self._asked) >= self._pending:
            raise QueueFull
        loop = self._loop = self._loop or asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        if self._breaker is not None and self._breaker.problem is not None:
            answer.set_result(self._breaker.refusal())
            return answer
        if not self._unsent:
            loop.call_soon(self._send)
        # To connect may take as long again.
        self._asked.append(_Question(answer, loop.time() + client.PATIENCE_SECONDS))
        self._unsent.append(command)
        return answer

    async def stop(self) -> None:
        """Return when everything that was asked has been answered."""
        while self._asked:
            await asyncio.wait([question.answer for question in self._asked])
        if self._talk is not None:
            self._talk.cancel()
            await asyncio.wait([self._talk])

    def _send(self) -> None:
        """What was asked in this turn of the loop, at its end."""
        if self._talk is None:
            self._talk = asyncio.create_task(self._converse())
        elif self._writer is not None and self._unsent:
            # Of a connection that was reset the reader hears, too; uvloop says so here.
            with suppress(RuntimeError):
                self._writer.write(b"".join(self._unsent))
            self._unsent.clear()
            if self._timer is None:
                self._look_at(self._asked[0].until)

    def _look_at(self, due: float) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(due, self._give_up_if_late, due)

    def _give_up_if_late(self, due: float) -> None:
        """Cut the connection off if the first who waits has waited too long."""
        self._timer = None
        if not self._asked or self._writer is None:
            return
        now, until = asyncio.get_running_loop().time(), self._asked[0].until
        if now < until:
            self._look_at(until)
        elif now - due > _BUSY_SECONDS and now < until + client.PATIENCE_SECONDS:
            # We were late ourselves; the answer may be there, and not be read yet.
            self._look_at(now + _BUSY_SECONDS)
        else:
            self._trouble = RedisTimeoutError("no answer in time")
            self._writer.transport.abort()

    async def _converse(self) -> None:
        """Hold one connection as long as it lasts."""
        why: Exception = RedisConnectionError("the conversation broke off")
        try:
            why = await self._hold()
        except Exception as error:  # noqa: BLE001 -- whoever asks next starts anew
            self._log.error("edge.failed", exc_info=error)
        finally:
            self._talk = None
            self._lose(why)

    async def _hold(self) -> Exception:
        """Why the connection did not last longer."""
        self._trouble = RedisConnectionError("the connection was closed")
        try:
            connection: ResetSafeConnection = await self._pool.get_connection()
            try:
                self._writer = connection.writer
                self._send()
                await self._listen(connection.reader)
            finally:
                self._writer = None
                await self._let_go(connection)
        except REDIS_ERRORS as error:
            return error
        return self._trouble

    async def _let_go(self, connection: ResetSafeConnection) -> None:
        # One that ends while nobody waits is no trouble: the client opens it again.
        if self._asked:
            await connection.disconnect(nowait=True)
        await self._pool.release(connection)

    async def _listen(self, source: asyncio.StreamReader) -> None:
        answers = Reader(InvalidResponse, ResponseError, notEnoughData=_INCOMPLETE)
        while chunk := await source.read(_CHUNK):
            answers.feed(chunk)
            while (answer := answers.gets()) is not _INCOMPLETE:
                future = self._asked.popleft().answer
                if not future.done():
                    future.set_result(answer)

    def _lose(self, why: Exception) -> None:
        """Tell everybody that no answer comes any more."""
        asked, self._asked = self._asked, deque()
        self._unsent.clear()
        for question in asked:
            if not question.answer.done():
                question.answer.set_result(why)
