"""Awards milestones: what partners earn by the number of their leads.

Awards are made in the transaction that counts the leads, while it holds the lock on the
enrolment's row. A second worker sees what the first one counted, so no milestone is missed.
An award stays when one of the leads is attributed to another partner later. That partner may
earn the same milestone.
"""

from collections.abc import Sequence
from typing import Final

from workers.counters.counters import LeadGain
from workers.postgres.database import Connection
from workers.postgres.sql import statements

_SQL: Final = statements("counters/milestones")


async def give(connection: Connection, led: Sequence[LeadGain]) -> None:
    """Award the milestones that these partners have reached; needs up-to-date counters."""
    if led:
        columns = [list(column) for column in zip(*led, strict=True)]
        await connection.execute(_SQL["awards_give"], *columns)
