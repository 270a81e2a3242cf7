"""Appends entries to the stream's shards. Raises no exceptions of Redis."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from ingest.contracts.stream import (
    ENTRY_BYTES,
    ENTRY_EVENTS,
    FIELD,
    SHARDS_KEY,
    VanishedClaim,
    events_key,
    joined,
    shard_of,
)
from ingest.contracts.telemetry import Bounded
from ingest.contracts.variables import NO_REPLICAS, Replicas
from ingest.durable.append_counts import AppendCounts, claims_in
from ingest.redis_io.client import NotSent, QueueFull, RedisBreaker, describe_error
from ingest.redis_io.multiplexer import Multiplexer, packed
from ingest.redis_io.replicated import NotReplicated, ReplicatedMultiplexer

#: Is called with the error of an append, None if it succeeded.
Settled = Callable[[str | None], None]

#: Beyond so many waiting entries, events are spooled instead.
_PENDING: Final = 4_000
#: A stream that takes some events and not others would be a line each time.
_SAY_SECONDS: Final = 10.0


class AppendFailed(Exception):
    """The stream has not acknowledged the event; it may have it all the same."""


class ShardCountMismatch(Exception):
    """The process and the installation have different numbers of shards."""


class PendingAppend(NamedTuple):
    """An event to append."""

    event_id: UUID
    payload: bytes


class Stream:
    """Appends entries, many in one round trip."""

    def __init__(
        self,
        redis: Redis,
        shards: int,
        writes: RedisBreaker,
        replicas: Replicas = NO_REPLICAS,
    ) -> None:
        """`redis` bounds how long an answer may take, and sends nothing twice.

        `writes` is opened when the server answers that it takes no writes, and when too few
        `replicas` confirm them.
        """
        self._line = (
            ReplicatedMultiplexer(redis, pending=_PENDING, replicas=replicas)
            if replicas.count
            else Multiplexer(redis, pending=_PENDING)
        )
        self._shards = shards
        self._xadds = [_xadd(shard) for shard in range(shards)]
        self._writes = writes
        self._is_confirmed = False
        self._problem: str | None = None
        self.appended = AppendCounts(shards)
        self._overloaded = Bounded("edge.overloaded", time.monotonic, _SAY_SECONDS)

    async def append(self, event_id: UUID, payload: bytes) -> None:
        """Return when the stream has acknowledged the event; else raise AppendFailed."""
        if not self._is_confirmed:
            await self._confirm()
        shard = shard_of(event_id, self._shards)
        reply = await self._ask(shard, payload)
        problem = self._settle(shard, event_id.bytes, reply, claims_in([payload]))
        if problem is not None:
            raise AppendFailed(problem)

    def offer(self, event_id: bytes, payload: bytes, settled: Settled) -> bool:
        """Begin to append; False if only `append` can say what prevents it.

        `settled` is called with what `AppendFailed` would say, None once it is appended.
        """
        if not self._is_confirmed:
            return False
        shard = int.from_bytes(event_id) % self._shards
        size = b"%d\r\n" % len(payload)
        command = b"".join((self._xadds[shard], size, payload, b"\r\n"))
        answered = partial(self._answered, shard, event_id, settled)
        return self._line.send(command, answered)

    def _answered(
        self, shard: int, event_id: bytes, settled: Settled, reply: bytes | Exception
    ) -> None:
        settled(self._settle(shard, event_id, reply))

    async def append_together(
        self, events: Sequence[PendingAppend]
    ) -> Sequence[str | None]:
        """Append events of one request, several in an entry.

        The error of each, None for those that were appended.
        """
        return await self._append_entries(_entries(events))

    async def append_each(
        self, events: Sequence[PendingAppend]
    ) -> Sequence[str | None]:
        """Append events of many requests, each in an entry of its own.

        The error of each, None for those that were appended.
        """
        return await self._append_entries([[event] for event in events])

    async def _append_entries(
        self, entries: Sequence[Sequence[PendingAppend]]
    ) -> Sequence[str | None]:
        asked: list[asyncio.Future[Any]] = []
        unasked: list[str | None] = []
        try:
            if not self._is_confirmed:
                await self._confirm()
            for events in entries:
                payload = joined([event.payload for event in events])
                shard = shard_of(events[0].event_id, self._shards)
                asked.append(self._ask(shard, payload))
        except AppendFailed as error:
            unasked = [str(error)] * sum(map(len, entries[len(asked) :]))
        problems: list[str | None] = []
        for events, reply in zip(entries, asked, strict=False):
            shard = shard_of(events[0].event_id, self._shards)
            event_ids = b"".join([event.event_id.bytes for event in events])
            claims = claims_in([event.payload for event in events])
            problem = self._settle(shard, event_ids, await reply, claims)
            problems += [problem] * len(events)
        return [*problems, *unasked]

    def _settle(
        self,
        shard: int,
        event_ids: bytes,
        reply: bytes | Exception,
        claims: tuple[VanishedClaim, ...] = (),
    ) -> str | None:
        """The error of an append by Redis' reply; None if it succeeded."""
        problem: str | None = None
        if not isinstance(reply, Exception):
            self.appended.note(shard, reply, event_ids, claims)
        elif isinstance(reply, NotReplicated):
            # The stream has it. A failover may take it away, so it has to be kept elsewhere.
            self.appended.note(shard, reply.reply, event_ids, claims)
            problem = str(reply)
            self._writes.trip(problem)
        else:
            problem = describe_error(reply)
            if not isinstance(reply, ResponseError | NotSent):
                self.appended.note_unanswered(shard, event_ids)
            elif not isinstance(reply, NotSent) and not _is_key_error(reply):
                self._writes.trip(problem)
        if problem is not self._problem:
            self._report(problem)
        return problem

    async def confirm_shards(self) -> None:
        """Agree on the number of shards with every other process.

        Raises ShardCountMismatch if others use another number, AppendFailed if Redis does not
        answer. Nothing is appended before this has succeeded once.
        """
        found = await self._send(("SET", SHARDS_KEY, self._shards, "NX", "GET"))
        if isinstance(found, NotReplicated):
            found = found.reply  # what the number is does not depend on replicas
        if isinstance(found, Exception):
            raise AppendFailed(describe_error(found)) from found
        if found is not None and found != b"%d" % self._shards:
            raise ShardCountMismatch(
                f"{SHARDS_KEY} in Redis is {found.decode('utf-8', 'replace')}, but "
                f"REFTIDE_SHARDS is {self._shards}: set REFTIDE_SHARDS to the number "
                "in Redis, here and for every other process"
            )
        self._is_confirmed = True

    async def drain(self) -> None:
        """Return when every append has its answer."""
        await self._line.stop()

    async def _confirm(self) -> None:
        try:
            await self.confirm_shards()
        except (AppendFailed, ShardCountMismatch) as error:
            self._report(str(error))
            raise AppendFailed(str(error)) from error

    def _ask(self, shard: int, payload: bytes) -> asyncio.Future[Any]:
        return self._send(("XADD", events_key(shard), "*", FIELD, payload))

    def _send(self, words: tuple[bytes | str | int, ...]) -> asyncio.Future[Any]:
        try:
            return self._line.ask(packed(words))
        except QueueFull:
            raise AppendFailed("too many events wait for the stream") from None

    def _report(self, problem: str | None) -> None:
        if problem and not self._problem:
            self._overloaded.warning(problem=problem)
        self._problem = problem


def _xadd(shard: int) -> bytes:
    """The command that appends to a shard, up to the length of the payload."""
    return packed(("XADD", events_key(shard), "*", FIELD, b"")).removesuffix(
        b"0\r\n\r\n"
    )


def _entries(events: Iterable[PendingAppend]) -> list[list[PendingAppend]]:
    """The events as they share entries, in their order."""
    entries: list[list[PendingAppend]] = []
    size = ENTRY_BYTES
    for event in events:
        size += len(event.payload)
        if size >= ENTRY_BYTES or len(entries[-1]) == ENTRY_EVENTS:
            entries.append([])
            size = len(event.payload)
        entries[-1].append(event)
    return entries


def _is_key_error(error: Exception) -> bool:
    """Whether only this shard is affected: its key holds another type."""
    return "WRONGTYPE" in str(error)
