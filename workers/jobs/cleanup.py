"""Deletes rows of PostgreSQL that would grow without bound.

Safe beside workers that write: rows they have locked are left for the next run.
"""

from datetime import timedelta
from typing import Final

from workers.postgres.database import Pool, transaction
from workers.postgres.sql import statements
from workers.write.dedup import KEPT

_SQL: Final = statements("jobs/cleanup")

#: An expired claim stays as long again: its repeats may be spooled on an edge's disk.
_GRACE: Final = KEPT
#: Rows in one transaction, to keep its locks short.
_BATCH: Final = 5000
#: A worker that has counted nothing for so long is taken to be gone.
_INACTIVE: Final = timedelta(days=1)


async def sweep_claims(pool: Pool, batch: int = _BATCH) -> int:
    """Delete expired claims of idempotency keys; how many. Raises TransientError."""
    total = 0
    while True:
        async with transaction(pool) as connection:
            count: int = await connection.fetchval(_SQL["claims_sweep"], _GRACE, batch)
        total += count
        if count < batch:
            return total


async def sweep_visits(pool: Pool, batch: int = _BATCH) -> int:
    """Delete the visits of clicks too old to be compared; how many. Raises TransientError."""
    async with transaction(pool) as connection:
        await connection.execute(_SQL["visits_expire"], KEPT)
    total = 0
    while True:
        async with transaction(pool) as connection:
            count: int = await connection.fetchval(_SQL["visits_sweep"], batch)
        total += count
        if count < batch:
            return total


async def fold_ledger(pool: Pool) -> int:
    """Merge the ledger rows of gone workers into one a shard; how many were deleted.

    A worker that returns begins a new row. Raises TransientError.
    """
    async with transaction(pool) as connection:
        count: int = await connection.fetchval(_SQL["ledger_fold"], _INACTIVE)
        return count
