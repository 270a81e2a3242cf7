"""Works off erasures that were begun. Used by the job and by `reftide erase`.

Everything to do stands in Postgres, so that it may run anywhere, as often as anybody likes,
and be killed anywhere. All calls raise Trouble.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from redis.asyncio import Redis

from ingest.contracts.telemetry import Log
from workers.database import Connection, Pool, transaction
from workers.erasure import leftovers
from workers.erasure.beginning import grow
from workers.erasure.recorded import Erasure, veil_events, veil_quarantine
from workers.erasure.suppressing import Suppressions, veil_of
from workers.rows import Record
from workers.sql import statements

_SQL: Final = statements("erasure")
#: What is shorter is in other things too.
_LEAST_TEXT: Final = 6


class Eraser:
    """Works off erasures with these servers."""

    def __init__(self, pool: Pool, redis: Redis, shards: Sequence[int]) -> None:
        self._shards = shards
        self._pool = pool
        self._redis = redis
        self._suppressions = Suppressions()
        self._log = Log()

    async def work(self) -> int:
        """Do all that can be done now; how many things in Redis have to wait."""
        for erasure in await self._open():
            await self._veil(erasure)
        return await self.clear()

    async def grow(self) -> None:
        """See what became known to be of persons who are erased already."""
        async with transaction(self._pool) as connection:
            await grow(connection)

    async def clear(self) -> int:
        """Take out of Redis what can be taken out; how many things have to wait."""
        waiting = await leftovers.clear(self._pool, self._redis)
        async with transaction(self._pool) as connection:
            done = await connection.fetch(_SQL["unfinished"])
        if waiting or not done:
            return waiting
        if await leftovers.search(self._pool, self._redis, self._shards):
            waiting = await leftovers.clear(self._pool, self._redis)
        if waiting:
            return waiting
        for row in done:
            await leftovers.forget_visitors(
                self._redis, row["workspace_id"], set(row["clicks"])
            )
        is_rewritten = await leftovers.rewrite_log(self._redis)
        ids = [row["id"] for row in done]
        async with transaction(self._pool) as connection:
            await connection.execute(_SQL["streams_done"], ids)
        self._log.info("erasure.done", count=len(ids), log_rewritten=is_rewritten)
        return 0

    async def _open(self) -> Sequence[Record]:
        async with transaction(self._pool) as connection:
            return await connection.fetch(_SQL["open"])

    async def _veil(self, row: Record) -> None:
        await self._suppressions.refresh(self._pool)
        erasure = await self._erasure(row)
        while await veil_events(self._pool, erasure):
            pass
        after: int | None = erasure.quarantine_reached
        while after is not None:
            after = await veil_quarantine(
                self._pool, erasure, self._suppressions, after
            )
        await self._veil_customer(erasure)

    async def _erasure(self, row: Record) -> Erasure:
        async with transaction(self._pool) as connection:
            people = await connection.fetch(_SQL["customers_texts"], row["customers"])
        said = {text for person in people for text in person if text}
        return Erasure(
            id=row["id"],
            workspace_id=row["workspace_id"],
            customer_id=row["customer_id"],
            customers=row["customers"],
            quarantine_reached=row["quarantine_reached"],
            texts=[text.encode() for text in said if len(text) >= _LEAST_TEXT],
        )

    async def _veil_customer(self, erasure: Erasure) -> None:
        """The last of it: until here, who goes on knows whom."""
        async with transaction(self._pool) as connection:
            if await connection.fetchval(_SQL["events_left"], erasure.id):
                return  # somebody else is at them
            # An older record would be published after the newer one.
            await connection.execute(_SQL["publish_lock"])
            await connection.execute(_SQL["customers_lock"], erasure.customers)
            await self._depart(connection, erasure)
            await connection.execute(_SQL["rows_done"], erasure.id)

    async def _depart(self, connection: Connection, erasure: Erasure) -> None:
        owner, people = erasure.workspace_id, erasure.customers
        known = await connection.fetch(_SQL["customers_read"], people)
        names: list[str] = [row["external_id"] for row in known]
        veil = await veil_of(connection)
        pseudonym = veil.external_id(owner, names[0]) if names else None
        if names or not await self._is_named(connection, erasure.customer_id):
            await connection.execute(
                _SQL["customers_veil"], people, erasure.customer_id, pseudonym
            )
        for name in names:
            await connection.execute(_SQL["changes_drop"], f"{owner} {name}")
        await leftovers.forget_customer(self._redis, owner, names)

    async def _is_named(self, connection: Connection, customer_id: UUID) -> bool:
        """Whether it stands under a pseudonym already."""
        row = await connection.fetchrow(_SQL["customer"], customer_id)
        return row is not None and row["external_id"] is not None
