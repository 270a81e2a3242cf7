"""Milestones: what partners earn by the number of their leads. Imported by `write`.

Given in the transaction that counts the leads, while it holds the enrolment's row: of two
workers the second one sees what the first one counted, so no milestone is passed unseen.
An award stays given when a lead is attributed to somebody else later; that partner may earn
the same milestone for itself.
"""

from collections.abc import Sequence
from typing import Final

from workers.counters.counters import LeadGain
from workers.postgres.database import Connection
from workers.postgres.sql import statements

_SQL: Final = statements("counters/milestones")


async def give(connection: Connection, led: Sequence[LeadGain]) -> None:
    """Award what these partners have reached; needs their counters to be up to date."""
    if led:
        columns = [list(column) for column in zip(*led, strict=True)]
        await connection.execute(_SQL["awards_give"], *columns)
