"""When a server that failed is used again: by what its probes say."""

from collections.abc import Callable
from typing import Final

from ingest.durable.servers import Breakers
from ingest.redis_io.client import describe_error

#: After so many good probes a breaker that opens does not open again, but anew.
_CALM_PROBES: Final = 30
_MOST_NEEDED: Final = 16


class Recovery:
    """How many probes in a row must succeed before a breaker is closed.

    One at first; twice as many whenever it opened again soon. So a server that answers probes
    and fails appends is asked less and less, and the edge stays at its level.
    """

    def __init__(self) -> None:
        """Begin with a server that is well."""
        self._is_open = False
        self._needed = 1
        self._good = 0
        self._calm = _CALM_PROBES

    def failed(self) -> None:
        """Count a probe that failed."""
        self._good = 0
        self._begin()

    def is_over(self, *, is_open: bool) -> bool:
        """Count a probe that succeeded; whether the breaker may be closed."""
        if not is_open:
            self._is_open = False
            self._good = 0
            self._calm += 1
            return True
        self._begin()
        self._good += 1
        if self._good < self._needed:
            return False
        self._is_open = False
        self._good = self._calm = 0
        return True

    def _begin(self) -> None:
        if not self._is_open:
            self._is_open = True
            is_soon = self._calm < _CALM_PROBES
            self._needed = min(2 * self._needed, _MOST_NEEDED) if is_soon else 1


class BreakerKeeper:
    """Opens and closes the breakers of one server; only it closes them."""

    def __init__(self, breakers: Breakers, can_spool: Callable[[], bool]) -> None:
        """While not `can_spool`, a breaker is closed as soon as the server answers."""
        self._reach, self._writes, _ = breakers
        self._can_spool = can_spool
        self._recovery, self._recovery_of_writes = Recovery(), Recovery()

    def failed(self, error: Exception) -> None:
        """Note that the server did not answer."""
        self._reach.trip(describe_error(error))
        self._recovery.failed()

    def answered(self, refusal: str | None, *, were_refused: bool) -> None:
        """Note an answer, and why it takes no writes, if so.

        `were_refused`: before it was asked. What was tripped meanwhile may be younger.
        """
        # Without a spool, an edge that did not ask Redis would refuse.
        is_over = self._recovery.is_over(is_open=self._reach.is_open)
        if is_over or not self._can_spool():
            self._reach.close()
        if refusal is not None:
            self._writes.trip(refusal)
            self._recovery_of_writes.failed()
        elif self._recovery_of_writes.is_over(is_open=were_refused) and were_refused:
            self._writes.close()
