"""Deletes rows of PostgreSQL that would grow without bound.

Safe beside workers that write: rows they have locked are left for the next run. All functions
return the number of deleted rows, and raise TransientError.
"""

from datetime import timedelta
from typing import Final

from workers.postgres.database import Pool, execute_in_batches, fetch
from workers.postgres.sql import statements
from workers.write.dedup import KEPT

_SQL: Final = statements("jobs/cleanup")

#: What has expired stays as long again: events that name it may be spooled on an edge's disk.
_GRACE: Final = KEPT
_BATCH: Final = 5000
#: A worker that has counted nothing for so long is taken to be gone.
_INACTIVE: Final = timedelta(days=1)


async def sweep_claims(pool: Pool, batch: int = _BATCH) -> int:
    """Delete expired claims of idempotency keys."""
    return await execute_in_batches(pool, _SQL["claims_sweep"], batch, _GRACE)


async def sweep_clicks(pool: Pool, batch: int = _BATCH) -> int:
    """Delete expired short click ids."""
    return await execute_in_batches(pool, _SQL["clicks_sweep"], batch, _GRACE)


async def sweep_visits(pool: Pool, batch: int = _BATCH) -> int:
    """Delete the visits of clicks too old to be compared."""
    await fetch(pool, _SQL["visits_expire"], KEPT)
    return await execute_in_batches(pool, _SQL["visits_sweep"], batch)


async def fold_ledger(pool: Pool) -> int:
    """Merge the ledger rows of gone workers into one a shard.

    A worker that returns begins a new row.
    """
    ((count,),) = await fetch(pool, _SQL["ledger_fold"], _INACTIVE)
    return int(count)
