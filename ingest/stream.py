"""The shards of the stream, written to in batches. Used by `sink` and `drain`.

Above this module there is no Redis exception to catch.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from redis.asyncio import Redis

from ingest.contracts.stream import FIELD, SHARDS_KEY, events_key, shard_of
from ingest.contracts.telemetry import Log
from ingest.wire import TROUBLE, Breaker, Coalescer, Full, said

_IN_FLIGHT: Final = 4
#: What waits beyond this has somewhere better to go.
_PENDING: Final = 4_000
#: For all replies of a batch together.
_BATCH_SECONDS: Final = 0.75


class Untaken(Exception):
    """The stream does not say that it has the event; it may have it all the same."""


class ShardsDiffer(Exception):
    """The installation has another number of shards than this process was told."""


class Entry(NamedTuple):
    """An event to be appended."""

    event_id: UUID
    payload: bytes


class Stream:
    """Appends, many entries in one round trip."""

    def __init__(self, redis: Redis, shards: int, writes: Breaker) -> None:
        """`redis` bounds how long an answer may take, and sends nothing twice.

        `writes` is opened when the server answers that it takes no writes.
        """
        self._redis = redis
        self._shards = shards
        self._keys = [events_key(shard) for shard in range(shards)]
        self._writes = writes
        self._appends: Coalescer[Entry, str | None]
        self._appends = Coalescer(self.write, in_flight=_IN_FLIGHT, pending=_PENDING)
        self._is_confirmed = False
        self._is_overloaded = False
        self._log = Log()

    async def append(self, event_id: UUID, payload: bytes) -> None:
        """Return when the stream has the event; raise Untaken if it has not."""
        try:
            problem = await self._appends.ask(Entry(event_id, payload))
        except Full:
            raise Untaken("too many events wait for the stream") from None
        if problem is not None:
            raise Untaken(problem)

    async def confirm_shards(self) -> None:
        """Agree on the number of shards with every other process.

        Raises ShardsDiffer where others use another number, Untaken where the server
        cannot be asked. Nothing is appended before it has succeeded once.
        """
        try:
            found = await self._redis.set(SHARDS_KEY, self._shards, nx=True, get=True)
        except TROUBLE as error:
            raise Untaken(said(error)) from error
        if found is not None and found != b"%d" % self._shards:
            raise ShardsDiffer(
                f"{SHARDS_KEY} in Redis is {found.decode('utf-8', 'replace')}, but "
                f"REFTIDE_SHARDS is {self._shards}: set REFTIDE_SHARDS to the number "
                "in Redis, here and for every other process"
            )
        self._is_confirmed = True

    def start(self) -> None:
        self._appends.start()

    async def drain(self) -> None:
        """Return when everything that was to be appended has its answer."""
        await self._appends.stop()

    async def write(self, entries: Sequence[Entry]) -> Sequence[str | None]:
        """Append now: what kept each entry from being appended, None where nothing did."""
        try:
            async with asyncio.timeout(_BATCH_SECONDS):
                if not self._is_confirmed:
                    await self.confirm_shards()
                answers = await self._send(entries)
        except (Untaken, ShardsDiffer) as error:
            answers = [str(error)] * len(entries)
        except (*TROUBLE, TimeoutError) as error:
            answers = [said(error)] * len(entries)
        self._report(next(filter(None, answers), None))
        return answers

    async def _send(self, entries: Sequence[Entry]) -> list[str | None]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for event_id, payload in entries:
                key = self._keys[shard_of(event_id, self._shards)]
                pipe.execute_command("XADD", key, "*", FIELD, payload)
            replies: list[Any] = await pipe.execute(raise_on_error=False)
        for reply in replies:
            if isinstance(reply, Exception) and not _is_its_own(reply):
                self._writes.trip(said(reply))
        return [
            said(reply) if isinstance(reply, Exception) else None for reply in replies
        ]

    def _report(self, problem: str | None) -> None:
        if problem and not self._is_overloaded:
            self._log.warning("edge.overloaded", problem=problem)
        self._is_overloaded = problem is not None


def _is_its_own(error: Exception) -> bool:
    """Whether another entry may fare better: its key holds something else."""
    return "WRONGTYPE" in str(error)
