"""How much of what clients cause stays in quarantine, and for how long.

Anybody can send codes that nobody has. Such an entry is kept whole as long as there is room:
so many rows in all, and half of that for any one workspace, or for all of whom nobody knows
whose they are. Beyond that it is *dropped*: settled, counted, written down by its place in
the stream, so that the books stay exact and a replay can bring it back; its payload is in
the stream and the archive only. What workers and edges are to blame for is always kept.
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
#: So many in one transaction, so that nobody waits for it.
_BATCH: Final = 5000


@dataclass(slots=True)
class QuarantineBudget:
    """What one worker lets in; all of them count the same rows, once a second.

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

        What of them is committed is to be noted.
        """
        if self.clock() >= self._counted_at + _RECOUNT_SECONDS:
            rows = await connection.fetch(_SQL["budget_count"])
            self._counts = Counter({row["workspace_id"]: row["kept"] for row in rows})
            self._counted_at = self.clock()
        kept = self._counts.copy()
        return [self._admit(kept, owner) for owner in owners]

    def note(self, admitted: Counter[UUID | None]) -> None:
        """Remember what was committed, by workspace."""
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
    """Give up what clients caused and nobody put back in so many days; how many entries.

    They stay as the trail, without their payloads. 0 days: never. Raises Trouble.
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
