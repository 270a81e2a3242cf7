"""Notes published changes that entries in quarantine wait for.

The publisher does so in its own transaction. Marking the entries, of which there may be very
many, is left to the redrive job.
"""

from collections.abc import Iterable
from typing import Final

from workers.postgres.database import Connection
from workers.postgres.sql import statements

_SQL: Final = statements("quarantine/quarantine")

#: Topics of `directory_changes` that entries may wait for.
TOPICS: Final = frozenset({"code", "link", "click", "key"})


async def wake(connection: Connection, refs: Iterable[str]) -> None:
    """Note the references that entries in quarantine wait for."""
    if named := sorted(set(refs)):
        await connection.execute(_SQL["quarantine_wake"], named)
