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
    *,
    waiting: int = 1,
) -> _Result:
    """Do something while another worker has written these and not committed.

    That commits as soon as so many are waiting.
    """
    sealed, _, _ = pipeline.decode(deliveries)
    rows, _ = await pipeline.place(sealed)
    await pipeline.make_partitions(rows)
    async with (
        asyncio.TaskGroup() as group,
        transaction(pipeline.pool) as connection,
    ):
        await write(connection, rows, LedgerDelta(), consumer="other", new_id=uuid4)
        acting = group.create_task(act())
        await somebody_waits(pipeline.pool, waiting)
    return acting.result()


async def somebody_waits(pool: Pool, count: int = 1) -> None:
    """Return when so many wait for a lock that somebody else has."""

    async def is_waiting() -> bool:
        async with pool.acquire() as connection:
            return bool(count <= await connection.fetchval(_WAITING))

    await eventually(is_waiting)
