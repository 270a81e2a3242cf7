"""Makes sealed events durable: in the stream first, on disk second.

Whatever keeps an event from being durable is raised as `Overloaded`.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

from ingest.contracts.telemetry import Log
from ingest.core.values import Overloaded
from ingest.durable.degradation import Degradation, DegradationState, Level
from ingest.durable.spool.spool import Spool, SpoolFailed
from ingest.durable.stream import AppendFailed, PendingAppend, Stream
from ingest.redis_io.client import RedisBreaker

#: For what is asked of every event: Python 3.11 finds a member by its name slowly.
_STREAM: Final = Level.STREAM


class DurableSink:
    """Appends to the stream, or to the spool while the stream cannot take events."""

    def __init__(
        self,
        stream: Stream,
        spool: Spool,
        degradation: Degradation,
        *,
        reach: RedisBreaker,
        writes: RedisBreaker,
    ) -> None:
        """`reach` is open while Redis does not answer, `writes` while it takes no writes."""
        self._stream = stream
        self._spool = spool
        self._degradation = degradation
        self._reach = reach
        self._writes = writes
        self._last = Level.STREAM
        self._log = Log()

    @property
    def standing(self) -> DegradationState:
        """Where events go now, and why."""
        problem = self._reach.problem or self._writes.problem
        standing = self._degradation.state(problem, self._spool.problem)
        if standing.level is not self._last:
            self._last = standing.level
            tell = self._log.info if self._last is Level.STREAM else self._log.warning
            tell("edge.level", to=standing.level, why=standing.why)
        return standing

    def admit(self) -> None:
        """Raise Overloaded while events are refused.

        Call it before writing marks to Redis for an event that would then be refused.
        """
        if self._last is Level.REFUSE:
            level, why = self.standing
            if level is Level.REFUSE:
                raise Overloaded(why)

    def offer(
        self, event_id: bytes, payload: bytes, settled: Callable[[str | None], None]
    ) -> bool:
        """Begin to append to the stream; False if `append` has to decide.

        `settled` is called with the reason why the stream did not take it, None if it did.
        """
        if (
            self._reach.problem is not None
            or self._writes.problem is not None
            or not self._degradation.is_calm
            or self._last is not _STREAM
        ):
            return False
        return self._stream.offer(event_id, payload, settled)

    async def append(self, event_id: UUID, payload: bytes) -> None:
        """Return when the event is durable; raise Overloaded if it is not."""
        level, why = self.standing
        if level is Level.STREAM:
            try:
                await self._stream.append(event_id, payload)
            except AppendFailed as error:
                why = str(error)
            else:
                return
        if level is Level.REFUSE:
            raise Overloaded(why)
        await self.keep(event_id, payload, why)

    async def keep(self, event_id: UUID, payload: bytes, why: str | None) -> None:
        """Spool what the stream did not take, for this reason; else raise Overloaded."""
        try:
            await self._spool.append(event_id, payload)
        except SpoolFailed as error:
            raise Overloaded(f"{why}; {error}") from error

    async def append_together(
        self, events: Sequence[tuple[UUID, bytes]]
    ) -> Sequence[Overloaded | None]:
        """Append events of one request, which share entries of the stream.

        Why each of them is not durable, None for those that are.
        """
        level, why = self.standing
        if level is Level.REFUSE:
            return [Overloaded(why) for _ in events]
        problems: Sequence[str | None] = [why or level] * len(events)
        if level is Level.STREAM:
            appends = [PendingAppend(*event) for event in events]
            problems = await self._stream.append_together(appends)
        if not any(problems):
            return [None] * len(events)
        async with asyncio.TaskGroup() as tasks:
            kept = [
                tasks.create_task(self._kept(event, problem))
                for event, problem in zip(events, problems, strict=True)
            ]
        return [task.result() for task in kept]

    async def _kept(
        self, event: tuple[UUID, bytes], problem: str | None
    ) -> Overloaded | None:
        """Why an event is not durable, if `problem` kept it from the stream."""
        if problem is None:
            return None
        try:
            await self.keep(*event, problem)
        except Overloaded as error:
            return error
        return None
