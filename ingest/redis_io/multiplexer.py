"""One Redis connection that many requests share.

Commands of one turn of the event loop are sent in one write, without waiting for earlier
replies: Redis replies in the order of commands. A client that takes a connection for every
command or batch costs several times more.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

from hiredis import Reader, pack_command
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from typing_extensions import override

from ingest.contracts.telemetry import Log
from ingest.redis_io import client
from ingest.redis_io.client import (
    REDIS_ERRORS,
    NotSent,
    QueueFull,
    RedisBreaker,
    ResetSafeConnection,
    breaker_of,
)

#: If this timer fires this late, our own loop lagged; do not blame Redis.
_LOOP_LAG_SECONDS: Final = 0.05

#: Packs a command's arguments for the wire.
packed: Final[Callable[[tuple[bytes | str | int, ...]], bytes]] = pack_command  # type: ignore[assignment]

#: What a reader gives while a reply is not there in full.
INCOMPLETE: Final = object()

#: What a server replies to writes that was the primary before a failover.
_DEMOTED: Final = "READONLY"


#: Is called once with a command's reply, or with the reason why none came.
Answered = Callable[[Any], None]


class _Replies(asyncio.Protocol):
    """Hands on what a connection receives, and how it ends, without streams or tasks."""

    def __init__(
        self,
        received: Callable[[bytes], None],
        lost: Callable[[Exception | None], None],
    ) -> None:
        # An attribute, so that a reply passes one call less.
        self.data_received = received  # type: ignore[assignment, method-assign]
        self._lost = lost

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._lost(exc)


class Multiplexer:
    """One connection, opened by the first command and again after errors."""

    def __init__(self, redis: Redis, *, pending: int) -> None:
        """At most `pending` commands wait for a reply."""
        self._pool = redis.connection_pool
        self._breaker: RedisBreaker | None = breaker_of(redis)
        if self._breaker is not None:
            self._breaker.watchers.append(self._drop_if_idle)
        self._pending = pending
        #: What to call with the replies to come, and when each is due.
        self._unanswered: deque[tuple[Answered, float]] = deque()
        self._unsent: list[bytes] = []
        self._transport: Any = None
        self._answers: Reader
        # Cached: before Python 3.12 get_running_loop() costs a system call.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._trouble: Exception
        self._talk: asyncio.Task[None] | None = None
        #: Of who waits until nothing is unanswered.
        self._idle: asyncio.Future[None] | None = None
        self._log = Log()

    def ask(self, command: bytes) -> asyncio.Future[Any]:
        """Send a packed command; a future of its reply. Raises QueueFull.

        The result may be an exception, which is not raised: a ResponseError is the server's
        reply, NotSent means that it has not run, any other that it may have run.
        """
        if len(self._unanswered) >= self._pending:
            raise QueueFull
        loop = self._loop or asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        if not self.send(command, partial(_set, answer)):
            answer.set_result(self._breaker.refusal() if self._breaker else None)
        return answer

    def send(self, command: bytes, answered: Answered) -> bool:
        """Send a packed command; `answered` is called with what `ask` gives.

        False: nothing is sent, and only `ask` can say why.
        """
        unanswered, breaker = self._unanswered, self._breaker
        if len(unanswered) >= self._pending or (
            breaker is not None and breaker.problem is not None
        ):
            return False
        loop = self._loop = self._loop or asyncio.get_running_loop()
        if not self._unsent:
            loop.call_soon(self._send)
        # Connecting may take as long again.
        unanswered.append((answered, loop.time() + client.ANSWER_SECONDS))
        self._unsent.append(command)
        return True

    async def stop(self) -> None:
        """Return when everything that was asked has been answered."""
        if self._unanswered:
            self._idle = asyncio.get_running_loop().create_future()
            await self._idle
        if self._talk is not None:
            self._talk.cancel()
            await asyncio.wait([self._talk])

    def _send(self) -> None:
        """Write the commands of this turn of the loop."""
        if self._talk is None:
            self._talk = asyncio.create_task(self._run())
        elif self._transport is not None and self._unsent:
            # uvloop raises for a connection that was reset; the reader gets an error as well.
            with suppress(RuntimeError):
                self._transport.write(b"".join(self._unsent))
            self._unsent.clear()
            if self._timer is None:
                self._check_at(self._unanswered[0][1])

    def _check_at(self, due: float) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(due, self._check_timeout, due)

    def _check_timeout(self, due: float) -> None:
        """Close the connection if the oldest command has waited too long."""
        self._timer = None
        if not self._unanswered or self._transport is None:
            return
        now, until = asyncio.get_running_loop().time(), self._unanswered[0][1]
        if now < until:
            self._check_at(until)
        elif now - due > _LOOP_LAG_SECONDS and now < until + client.ANSWER_SECONDS:
            # Our own loop lagged; the reply may have arrived and not been read yet.
            self._check_at(now + _LOOP_LAG_SECONDS)
        else:
            self._break_off(RedisTimeoutError("no answer in time"))

    async def _run(self) -> None:
        """Use one connection as long as it lasts."""
        why: Exception = RedisConnectionError("the conversation broke off")
        try:
            why = await self._receive()
        except Exception as error:  # noqa: BLE001 -- the next command starts anew
            self._log.error("edge.failed", exc_info=error)
        finally:
            self._talk = None
            self._fail_all(why)

    async def _receive(self) -> Exception:
        """Take replies until the connection fails; the reason."""
        self._trouble = RedisConnectionError("the connection was closed")
        try:
            connection: ResetSafeConnection = await self._pool.get_connection()
            # Not a transport of asyncio's classes under uvloop.
            transport: Any = connection.writer.transport
            streams = transport.get_protocol()
            try:
                self._answers = Reader(
                    InvalidResponse, ResponseError, notEnoughData=INCOMPLETE
                )
                lost = asyncio.get_running_loop().create_future()
                transport.set_protocol(_Replies(self._received, partial(_set, lost)))
                self._transport = transport
                self._send()
                await lost
            finally:
                self._transport = None
                transport.set_protocol(streams)
                if lost.done():
                    streams.connection_lost(None)
                await self._release(connection)
        except REDIS_ERRORS as error:
            return error
        return self._trouble

    async def _release(self, connection: ResetSafeConnection) -> None:
        # An idle connection that ends is no failure: the next command opens another.
        if self._unanswered:
            await connection.disconnect(nowait=True)
        await self._pool.release(connection)

    def _received(self, data: bytes) -> None:
        self._answers.feed(data)
        try:
            self._take_replies()
        except (InvalidResponse, IndexError) as error:
            self._break_off(RedisConnectionError(f"not a reply of Redis: {error}"))
        self._tell_if_idle()

    def _take_replies(self) -> None:
        """Hand on what has come; raises IndexError for a reply that nobody waits for."""
        answers, unanswered = self._answers, self._unanswered
        while (answer := answers.gets()) is not INCOMPLETE:
            answered, _ = unanswered.popleft()
            try:
                answered(answer)
            except Exception as error:  # noqa: BLE001 -- the next replies are others'
                self._log.error("edge.failed", exc_info=error)
            if isinstance(answer, ResponseError):
                self._leave_if_demoted(answer)

    def _leave_if_demoted(self, reply: ResponseError) -> None:
        if _DEMOTED in str(reply):
            self._break_off(RedisConnectionError("a replica takes no writes"))

    def _drop_if_idle(self) -> None:
        """Close a connection on which nothing is under way: it may lead to a server that is gone.

        A command that waits for a reply has a timeout.
        """
        if not self._unanswered:
            self._break_off(RedisConnectionError("the connection was idle"))

    def _break_off(self, why: Exception) -> None:
        """Close the connection; the next command opens another."""
        transport, self._transport = self._transport, None
        if transport is not None:
            self._trouble = why
            transport.abort()

    def _fail_all(self, why: Exception) -> None:
        """Answer all waiting commands with `why`."""
        asked, self._unanswered = self._unanswered, deque()
        sent = len(asked) - len(self._unsent)
        self._unsent.clear()
        for place, (answered, _) in enumerate(asked):
            self._tell(answered, why if place < sent else NotSent(str(why)))
        self._tell_if_idle()

    def _tell(self, answered: Answered, reply: object) -> None:
        try:
            answered(reply)
        except Exception as error:  # noqa: BLE001 -- the next ones are others'
            self._log.error("edge.failed", exc_info=error)

    def _tell_if_idle(self) -> None:
        if self._idle is not None and not self._unanswered:
            _set(self._idle, None)


def _set(future: asyncio.Future[Any], result: object) -> None:
    if not future.done():
        future.set_result(result)
