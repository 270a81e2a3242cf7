"""Two who write at once: one has written and commits when the other waits for it."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar
from uuid import uuid4

from tests.support.eventually import eventually
from workers.counters.ledger import LedgerDelta
from workers.model.batch import Delivery
from workers.pipeline.pipeline import Pipeline
from workers.postgres.database import Pool, transaction
from workers.write.transaction import write

_WAITING = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"

_Result = TypeVar("_Result")


async def beside(
    pipeline: Pipeline,
    deliveries: Sequence[Delivery],
    act: Callable[[], Coroutine[Any, Any, _Result]],
) -> _Result:
    """Do something while another worker has written these and not committed."""
    sealed, _, _ = pipeline.decode(deliveries)
    rows, _ = await pipeline.place(sealed)
    await pipeline.make_partitions(rows)
    async with (
        asyncio.TaskGroup() as group,
        transaction(pipeline.pool) as connection,
    ):
        await write(connection, rows, LedgerDelta(), consumer="other", new_id=uuid4)
        acting = group.create_task(act())
        await somebody_waits(pipeline.pool)
    return acting.result()


async def somebody_waits(pool: Pool) -> None:
    """Return when somebody waits for a lock that somebody else has."""

    async def is_waiting() -> bool:
        async with pool.acquire() as connection:
            return bool(await connection.fetchval(_WAITING))

    await eventually(is_waiting)
