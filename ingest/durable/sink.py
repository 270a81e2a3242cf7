"""Makes sealed events durable: in the stream first, on disk second.

Whatever keeps an event from being durable is raised as `Overloaded`.
"""

from collections.abc import Callable
from uuid import UUID

from ingest.contracts.telemetry import Log
from ingest.core.values import Overloaded
from ingest.durable.degradation import Degradation, DegradationState, Level
from ingest.durable.spool.spool import Spool, SpoolFailed
from ingest.durable.stream import AppendFailed, Stream


class Sink:
    """Appends to the stream, or to the spool while the stream cannot take events."""

    def __init__(
        self,
        stream: Stream,
        spool: Spool,
        degradation: Degradation,
        trouble: Callable[[], str | None],
    ) -> None:
        """`trouble` gives the reason not to ask the stream now, or None."""
        self._stream = stream
        self._spool = spool
        self._degradation = degradation
        self._trouble = trouble
        self._last = Level.STREAM
        self._log = Log()

    @property
    def standing(self) -> DegradationState:
        """Where events go now, and why."""
        standing = self._degradation.state(self._trouble(), self._spool.problem)
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

    async def append(self, event_id: UUID, payload: bytes) -> None:
        """Return when the event is durable; raise Overloaded if it is not."""
        level, why = self.standing
        if level is Level.STREAM:
            try:
                return await self._stream.append(event_id, payload)
            except AppendFailed as error:
                why = str(error)
        if level is Level.REFUSE:
            raise Overloaded(why)
        try:
            await self._spool.append(event_id, payload)
        except SpoolFailed as error:
            raise Overloaded(f"{why}; {error}") from error
