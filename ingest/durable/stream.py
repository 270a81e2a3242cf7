"""Appends entries to the stream's shards. Raises no exceptions of Redis."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from ingest.contracts.stream import FIELD, SHARDS_KEY, events_key, shard_of
from ingest.contracts.telemetry import Log
from ingest.durable.append_counts import AppendCounts
from ingest.redis_io.client import QueueFull, RedisBreaker, describe_error
from ingest.redis_io.multiplexer import Multiplexer, packed

#: Beyond so many waiting entries, events are spooled instead.
_PENDING: Final = 4_000


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

    def __init__(self, redis: Redis, shards: int, writes: RedisBreaker) -> None:
        """`redis` bounds how long an answer may take, and sends nothing twice.

        `writes` is opened when the server answers that it takes no writes.
        """
        self._line = Multiplexer(redis, pending=_PENDING)
        self._shards = shards
        self._keys = [events_key(shard).encode() for shard in range(shards)]
        self._writes = writes
        self._is_confirmed = False
        self._problem: str | None = None
        self.appended = AppendCounts()
        self._log = Log()

    async def append(self, event_id: UUID, payload: bytes) -> None:
        """Return when the stream has acknowledged the event; else raise AppendFailed."""
        if not self._is_confirmed:
            await self._confirm()
        shard = shard_of(event_id, self._shards)
        problem = self._problem_of(shard, await self._ask(shard, payload))
        if problem is not self._problem:
            self._report(problem)
        if problem is not None:
            raise AppendFailed(problem)

    async def confirm_shards(self) -> None:
        """Agree on the number of shards with every other process.

        Raises ShardCountMismatch if others use another number, AppendFailed if Redis does not
        answer. Nothing is appended before this has succeeded once.
        """
        found = await self._refused(("SET", SHARDS_KEY, self._shards, "NX", "GET"))
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

    async def write(self, entries: Sequence[PendingAppend]) -> Sequence[str | None]:
        """Append entries; the error of each, None for those that were appended."""
        try:
            if not self._is_confirmed:
                await self._confirm()
            shards = [shard_of(entry.event_id, self._shards) for entry in entries]
            asked = [
                self._ask(shard, entry.payload)
                for shard, entry in zip(shards, entries, strict=True)
            ]
        except AppendFailed as error:
            return [str(error)] * len(entries)
        problems = [
            self._problem_of(shard, await reply)
            for shard, reply in zip(shards, asked, strict=True)
        ]
        self._report(next(filter(None, problems), None))
        return problems

    async def _confirm(self) -> None:
        try:
            await self.confirm_shards()
        except (AppendFailed, ShardCountMismatch) as error:
            self._report(str(error))
            raise AppendFailed(str(error)) from error

    def _ask(self, shard: int, payload: bytes) -> asyncio.Future[Any]:
        return self._refused(("XADD", self._keys[shard], "*", FIELD, payload))

    def _refused(self, words: tuple[bytes | str | int, ...]) -> asyncio.Future[Any]:
        try:
            return self._line.ask(packed(words))
        except QueueFull:
            raise AppendFailed("too many events wait for the stream") from None

    def _problem_of(self, shard: int, reply: object) -> str | None:
        """The error of an append by Redis' reply; None if it succeeded."""
        if not isinstance(reply, Exception):
            self.appended.add(shard)
            return None
        if isinstance(reply, ResponseError) and not _is_key_error(reply):
            self._writes.trip(describe_error(reply))
        return describe_error(reply)

    def _report(self, problem: str | None) -> None:
        if problem and not self._problem:
            self._log.warning("edge.overloaded", problem=problem)
        self._problem = problem


def _is_key_error(error: Exception) -> bool:
    """Whether only this shard is affected: its key holds another type."""
    return "WRONGTYPE" in str(error)
