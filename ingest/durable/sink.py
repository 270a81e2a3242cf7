"""Where sealed events become durable: the stream first, the disk second.

Whatever keeps an event from being durable is
`Overloaded`.
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
        ladder: Degradation,
        trouble: Callable[[], str | None],
    ) -> None:
        """`trouble` says why the stream need not be asked now, if there is a reason."""
        self._stream = stream
        self._spool = spool
        self._ladder = ladder
        self._trouble = trouble
        self._last = Level.STREAM
        self._log = Log()

    @property
    def standing(self) -> DegradationState:
        """Where events go now, and why."""
        standing = self._ladder.stand(self._trouble(), self._spool.problem)
        if standing.level is not self._last:
            self._last = standing.level
            tell = self._log.info if self._last is Level.STREAM else self._log.warning
            tell("edge.level", to=standing.level, why=standing.why)
        return standing

    def admit(self) -> None:
        """Raise Overloaded while the door is closed.

        To be asked before anything is left in Redis of an event that would not follow.
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
