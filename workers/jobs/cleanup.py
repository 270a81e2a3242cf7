"""What would pile up for ever in Postgres, and goes instead.

Both may run at any time, beside workers that write: what those hold is left for later.
"""

from datetime import timedelta
from typing import Final

from workers.postgres.database import Pool, transaction
from workers.postgres.sql import statements
from workers.write.dedup import KEPT

_SQL: Final = statements("jobs/cleanup")

#: An expired claim stays as long again: its repeats may have waited on the disk of an edge.
_LATE: Final = KEPT
#: So many in one transaction, so that nobody waits for it.
_AT_ONCE: Final = 5000
#: A worker that has counted nothing for so long is taken for gone.
_GONE: Final = timedelta(days=1)


async def sweep_claims(pool: Pool, at_once: int = _AT_ONCE) -> int:
    """Delete the claims of idempotency keys that nobody will repeat; how many there were.

    Raises Trouble.
    """
    total = 0
    while True:
        async with transaction(pool) as connection:
            count: int = await connection.fetchval(_SQL["claims_sweep"], _LATE, at_once)
        total += count
        if count < at_once:
            return total


async def fold_ledger(pool: Pool) -> int:
    """Make one row of what gone workers counted in a shard; how many rows went.

    A worker that comes back after all begins a row of its own again. Raises Trouble.
    """
    async with transaction(pool) as connection:
        count: int = await connection.fetchval(_SQL["ledger_fold"], _GONE)
        return count
