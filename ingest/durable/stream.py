"""Appends entries to the stream's shards. Raises no exceptions of Redis."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple
from uuid import UUID

from redis.exceptions import ResponseError

from ingest.contracts.placement.cluster import is_misrouted
from ingest.contracts.placement.layout import mismatch
from ingest.contracts.stream import (
    ENTRY_BYTES,
    ENTRY_EVENTS,
    SHARDS_KEY,
    is_sealed,
    joined,
)
from ingest.contracts.telemetry import Bounded
from ingest.durable.append_counts import AppendCounts, claims_in
from ingest.durable.servers import AppendServers, AppendTarget
from ingest.redis_io.client import NotSent, QueueFull, describe_error
from ingest.redis_io.multiplexer import packed
from ingest.redis_io.replicated import NotReplicated

#: Is called with the error of an append, None if it succeeded.
Settled = Callable[[str | None], None]

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

    def __init__(self, servers: AppendServers) -> None:
        """Of `servers`, a breaker for writes is opened when its server answers that it takes none.

        So it is when too few replicas confirm them.
        """
        self._servers = servers
        self._targets = servers.targets
        self._shards = len(servers.layout.numbers)
        self._is_confirmed = False
        self._problem: str | None = None
        self.appended = AppendCounts(servers.layout.numbers)
        self._overloaded = Bounded("edge.overloaded", time.monotonic, _SAY_SECONDS)

    async def append(self, event_id: UUID, payload: bytes) -> None:
        """Return when the stream has acknowledged the event; else raise AppendFailed."""
        if not self._is_confirmed:
            await self._confirm()
        target = self._targets[event_id.int % self._shards]
        reply = await self._ask(target, payload)
        problem = self._settle(target, event_id.bytes, reply, claims_in([payload]))
        if problem is not None:
            raise AppendFailed(problem)

    def offer(self, event_id: bytes, payload: bytes, settled: Settled) -> bool:
        """Begin to append; False if only `append` can say what prevents it.

        `settled` is called with what `AppendFailed` would say, None once it is appended.
        """
        if not self._is_confirmed:
            return False
        target = self._targets[int.from_bytes(event_id) % self._shards]
        size = b"%d\r\n" % len(payload)
        command = b"".join((target.xadd, size, payload, b"\r\n"))
        answered = partial(self._answered, target, event_id, settled)
        return target.line.send(command, answered)

    def _answered(
        self,
        target: AppendTarget,
        event_id: bytes,
        settled: Settled,
        reply: bytes | Exception,
    ) -> None:
        settled(self._settle(target, event_id, reply))

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
        asked: list[tuple[AppendTarget, asyncio.Future[Any]]] = []
        unasked: list[str | None] = []
        try:
            if not self._is_confirmed:
                await self._confirm()
            for events in entries:
                payload = joined([event.payload for event in events])
                target = self._targets[events[0].event_id.int % self._shards]
                asked.append((target, self._ask(target, payload)))
        except AppendFailed as error:
            unasked = [str(error)] * sum(map(len, entries[len(asked) :]))
        problems: list[str | None] = []
        for events, (target, reply) in zip(entries, asked, strict=False):
            event_ids = b"".join([event.event_id.bytes for event in events])
            claims = claims_in([event.payload for event in events])
            problem = self._settle(target, event_ids, await reply, claims)
            problems += [problem] * len(events)
        return [*problems, *unasked]

    def _settle(
        self,
        target: AppendTarget,
        event_ids: bytes,
        reply: bytes | Exception,
        claims: bytes = b"",
    ) -> str | None:
        """The error of an append by Redis' reply; None if it succeeded."""
        problem: str | None = None
        if not isinstance(reply, Exception):
            self.appended.note(target.shard, reply, event_ids, claims)
        elif isinstance(reply, NotReplicated):
            # The stream has it. A failover may take it away, so it has to be kept elsewhere.
            self.appended.note(target.shard, reply.reply, event_ids, claims)
            problem = str(reply)
            target.server.breakers.writes.trip(problem)
        else:
            problem = describe_error(reply)
            if not isinstance(reply, ResponseError | NotSent):
                self.appended.note_unanswered(target.shard, event_ids)
            elif is_sealed(reply):
                self._servers.seal(target.server, target.shard)
            elif is_misrouted(reply):
                self._servers.misroute(target.server, target.shard, problem)
            elif not isinstance(reply, NotSent) and not _is_key_error(reply):
                target.server.breakers.writes.trip(problem)
        if problem is not self._problem:
            self._report(problem)
        return problem

    async def confirm_shards(self) -> None:
        """Agree on the number of shards with every other process.

        Raises ShardCountMismatch if others use another number, AppendFailed if Redis does not
        answer. Nothing is appended before this has succeeded once.
        """
        record = self._servers.layout.record
        found = await self._send(("SET", SHARDS_KEY, record, "NX", "GET"))
        if isinstance(found, NotReplicated):
            found = found.reply  # what the number is does not depend on replicas
        if isinstance(found, Exception):
            raise AppendFailed(describe_error(found)) from found
        if found is not None and found != record:
            raise ShardCountMismatch(mismatch(found, record))
        self._is_confirmed = True

    async def drain(self) -> None:
        """Return when every append has its answer."""
        await self._servers.stop()

    async def _confirm(self) -> None:
        try:
            await self.confirm_shards()
        except (AppendFailed, ShardCountMismatch) as error:
            self._report(str(error))
            raise AppendFailed(str(error)) from error

    def _ask(self, target: AppendTarget, payload: bytes) -> asyncio.Future[Any]:
        try:
            return target.line.ask(
                b"%b%d\r\n%b\r\n" % (target.xadd, len(payload), payload)
            )
        except QueueFull:
            raise AppendFailed("too many events wait for the stream") from None

    async def _send(self, words: tuple[bytes | str | int, ...]) -> Any:
        try:
            return await self._servers.home.ask(packed(words))
        except QueueFull:
            raise AppendFailed("too many events wait for the stream") from None

    def _report(self, problem: str | None) -> None:
        if problem and not self._problem:
            self._overloaded.warning(problem=problem)
        self._problem = problem


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
