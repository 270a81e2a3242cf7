"""Limits how much of what clients cause stays in quarantine, and for how long.

Any client can send unknown codes. Such an entry is kept with its payload while there is room:
a number of rows in all, and half of that for one workspace, or for all entries of unknown
workspaces together. Beyond that it is *dropped*: counted, and listed by its place in the
stream, so that the ledger stays exact and a replay can record it; only the stream and the
archive have its payload. Entries with bad data are always kept.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from uuid import UUID

from ingest.contracts.telemetry import Bounded
from workers.postgres.database import Connection, Pool, transaction
from workers.postgres.sql import statements
from workers.settings import QUARANTINE_ROWS

_SQL: Final = statements("quarantine/budget")

_RECOUNT_SECONDS: Final = 1.0
_LOG_SECONDS: Final = 60.0
#: Rows in one transaction, to keep its locks short.
_BATCH: Final = 5000


@dataclass(slots=True)
class QuarantineBudget:
    """Admits entries for one worker; every worker counts the rows once a second.

    `clock` gives monotonic seconds.
    """

    rows: int = QUARANTINE_ROWS
    clock: Callable[[], float] = time.monotonic
    _counts: Counter[UUID | None] = field(default_factory=Counter)
    _counted_at: float = float("-inf")
    _full_log: Bounded = field(init=False)

    def __post_init__(self) -> None:
        self._full_log = Bounded("quarantine.full", self.clock, _LOG_SECONDS)

    async def admit(
        self, connection: Connection, owners: Iterable[UUID | None]
    ) -> list[bool]:
        """Whether there is room for an entry of each of these workspaces, in this order.

        Call `note` with those that were committed.
        """
        if self.clock() >= self._counted_at + _RECOUNT_SECONDS:
            rows = await connection.fetch(_SQL["budget_count"])
            self._counts = Counter({row["workspace_id"]: row["kept"] for row in rows})
            self._counted_at = self.clock()
        kept = self._counts.copy()
        return [self._admit(kept, owner) for owner in owners]

    def note(self, admitted: Counter[UUID | None]) -> None:
        """Count what was committed, by workspace."""
        self._counts.update(admitted)

    def _admit(self, kept: Counter[UUID | None], owner: UUID | None) -> bool:
        if kept.total() >= self.rows or kept[owner] >= (self.rows + 1) // 2:
            self._full_log.warning(
                rows=self.rows, workspace=str(owner) if owner else None
            )
            return False
        kept[owner] += 1
        return True


async def expire(pool: Pool, days: int, who: str, batch: int = _BATCH) -> int:
    """Discard entries that clients caused and that stayed `days` untouched; how many.

    Their rows stay, without payload. 0 days: never. Raises TransientError.
    """
    total = 0
    while days:
        async with transaction(pool) as connection:
            count: int = await connection.fetchval(
                _SQL["budget_expire"], timedelta(days=days), who, batch
            )
        total += count
        if count < batch:
            break
    return total
