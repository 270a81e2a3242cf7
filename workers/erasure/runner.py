"""Carries out erasures that were begun.

All state is in PostgreSQL, so that any number of processes may run this, and be killed at any
point. All calls raise TransientError.
"""

from collections.abc import Sequence
from typing import Final

from redis.asyncio import Redis

from ingest.contracts.telemetry import Log
from workers.erasure import redis_data
from workers.erasure.begin import find_grown, grow
from workers.erasure.postgres_rows import (
    Erasure,
    pseudonymize_events,
    pseudonymize_quarantine,
)
from workers.erasure.suppression import Suppressions
from workers.model.batch import TransientError
from workers.model.rows import DatabaseRecord
from workers.postgres.database import Pool, transaction
from workers.postgres.sql import statements

_SQL: Final = statements("erasure/erasure")


class Eraser:
    """Carries out erasures on these servers."""

    def __init__(self, pool: Pool, redis: Redis, shards: Sequence[int]) -> None:
        self._shards = shards
        self._pool = pool
        self._redis = redis
        self._suppressions = Suppressions()
        self._log = Log()

    async def work(self) -> int:
        """Do what can be done now; how many items in Redis have to wait."""
        for erasure in await self._open():
            await self._pseudonymize_rows(erasure)
        return await self.clear()

    async def grow(self) -> None:
        """Extend the erasures of persons whose data has grown."""
        async with transaction(self._pool) as connection:
            ids = await find_grown(connection)
        failed: TransientError | None = None
        for erasure_id in ids:
            # One transaction each: a failure does not stop the others, and writers wait briefly.
            try:
                async with transaction(self._pool) as connection:
                    await grow(connection, erasure_id)
            except TransientError as error:
                failed = error
        if failed:
            raise failed

    async def clear(self) -> int:
        """Delete from Redis what can be deleted now; how many items have to wait."""
        waiting = await redis_data.clear(self._pool, self._redis)
        async with transaction(self._pool) as connection:
            done = await connection.fetch(_SQL["unfinished"])
        if waiting or not done:
            return waiting
        if await redis_data.search(self._pool, self._redis, self._shards):
            waiting = await redis_data.clear(self._pool, self._redis)
        if waiting:
            return waiting
        for row in done:
            await redis_data.forget_visitors(
                self._redis, row["workspace_id"], set(row["clicks"])
            )
        is_rewritten = await redis_data.rewrite_log(self._redis)
        if is_rewritten is None:
            return 1
        known = [[row["id"] for row in done], [row["size"] for row in done]]
        async with transaction(self._pool) as connection:
            ended = await connection.fetch(_SQL["streams_done"], *known)
        if ended:
            self._log.info("erasure.done", count=len(ended), log_rewritten=is_rewritten)
        return len(done) - len(ended)

    async def _open(self) -> Sequence[DatabaseRecord]:
        async with transaction(self._pool) as connection:
            return await connection.fetch(_SQL["open"])

    async def _pseudonymize_rows(self, row: DatabaseRecord) -> None:
        await self._suppressions.refresh(self._pool)
        erasure = Erasure.of(row)
        while await pseudonymize_events(self._pool, erasure):
            pass
        after: int | None = erasure.quarantine_reached
        while after is not None:
            after = await pseudonymize_quarantine(
                self._pool, erasure, self._suppressions, after
            )
        await self._forget_name(erasure)

    async def _forget_name(self, erasure: Erasure) -> None:
        """Finish the rows: delete the customer's record and the person's external id."""
        owner, name = erasure.workspace_id, erasure.external_id
        async with transaction(self._pool) as connection:
            if await connection.fetchval(_SQL["events_left"], erasure.id):
                return  # another process is working on them
            # Else a publisher could write the customer's record again.
            await connection.execute(_SQL["publish_lock"])
            if name is not None:
                await connection.execute(_SQL["changes_drop"], f"{owner} {name}")
            await redis_data.forget_customer(self._redis, owner, name)
            await connection.execute(_SQL["rows_done"], erasure.id, erasure.size)
