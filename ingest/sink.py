"""Where sealed events go: the shards of the stream. Used by `app`; `accept` sees `append`.

Above this module there is no Redis exception to catch: whatever keeps an event from being
durable is `Overloaded`.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from redis.asyncio import Redis

from ingest.contracts.stream import FIELD, SHARDS_KEY, events_key, shard_of
from ingest.contracts.telemetry import Log
from ingest.wire import TROUBLE, Coalescer, Full

_IN_FLIGHT: Final = 4


class Overloaded(Exception):
    """The event is not durable, though it may be on its way. Come back later."""


class ShardsDiffer(Exception):
    """The installation has another number of shards than this process was told."""


class _Entry(NamedTuple):
    key: str
    payload: bytes


class Sink:
    """Appends, many entries in one round trip."""

    def __init__(self, redis: Redis, shards: int) -> None:
        """`redis` bounds how long an answer may take, and sends nothing twice."""
        self._redis = redis
        self._shards = shards
        self._keys = [events_key(shard) for shard in range(shards)]
        self._appends: Coalescer[_Entry, str | None]
        self._appends = Coalescer(self._flush, in_flight=_IN_FLIGHT)
        self._is_confirmed = False
        self._is_overloaded = False
        self._log = Log()

    async def append(self, event_id: UUID, payload: bytes) -> None:
        """Return when the stream has the event; raise Overloaded if it has not."""
        entry = _Entry(self._keys[shard_of(event_id, self._shards)], payload)
        try:
            problem = await self._appends.ask(entry)
        except Full:
            raise Overloaded("too many events wait for the stream") from None
        if problem is not None:
            raise Overloaded(problem)

    async def confirm_shards(self) -> None:
        """Agree on the number of shards with every other process.

        Raises ShardsDiffer where others use another number, Overloaded where the server
        cannot be asked. Nothing is appended before it has succeeded once.
        """
        try:
            found = await self._redis.set(SHARDS_KEY, self._shards, nx=True, get=True)
        except TROUBLE as error:
            raise Overloaded(_reason(error)) from error
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

    async def _flush(self, entries: Sequence[_Entry]) -> Sequence[str | None]:
        try:
            if not self._is_confirmed:
                await self.confirm_shards()
            answers = await self._write(entries)
        except (Overloaded, ShardsDiffer) as error:
            answers = [str(error)] * len(entries)
        except TROUBLE as error:
            answers = [_reason(error)] * len(entries)
        self._report(next(filter(None, answers), None))
        return answers

    async def _write(self, entries: Sequence[_Entry]) -> list[str | None]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for entry in entries:
                pipe.execute_command("XADD", entry.key, "*", FIELD, entry.payload)
            replies: list[Any] = await pipe.execute(raise_on_error=False)
        return [
            _reason(reply) if isinstance(reply, Exception) else None
            for reply in replies
        ]

    def _report(self, problem: str | None) -> None:
        if problem and not self._is_overloaded:
            self._log.warning("edge.overloaded", problem=problem)
        self._is_overloaded = problem is not None


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
