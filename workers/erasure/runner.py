"""Carries out erasures that were begun: rows in PostgreSQL, then Redis.

All state is in PostgreSQL, so that any number of processes may run this, and be killed at any
point. A page of rows is one transaction that removes its events from the list, so no event is
rewritten twice. All calls raise TransientError.
"""

from collections.abc import Sequence
from typing import Final

from redis.asyncio import Redis

from ingest.contracts.marks import seen_key
from ingest.contracts.telemetry import Log
from workers.erasure import redis_data
from workers.erasure.begin import find_grown, grow
from workers.erasure.payloads import pseudonymize_payloads
from workers.erasure.suppression import Suppressions, load_pseudonymizer
from workers.model.batch import Delivery, Entry, TransientError
from workers.model.enrichment import Agent
from workers.model.rows import (
    ENRICHMENT_COLUMNS,
    FIRST_DIGEST,
    DatabaseRecord,
    entry_of,
)
from workers.postgres.database import Connection, Pool, fetch, transaction
from workers.postgres.sql import statements
from workers.visits.visits import forget

_SQL: Final = statements("erasure/erasure")
_PAGE: Final = 500

#: What a bot says of itself is about no person.
_ABOUT_AGENT: Final = Agent.__struct_fields__
_PSEUDONYMIZE_EVENTS: Final = _SQL["events_pseudonymize"].format(
    enrichment=", ".join(
        f"{name} = case when is_bot and purpose is null then {name} end"
        if name in _ABOUT_AGENT
        else f"{name} = null"
        for name in ENRICHMENT_COLUMNS
    )
)


class Eraser:
    """Carries out erasures on these servers.

    An erasure is a row of the statement `open`; its `size` is the number of its clicks when it
    was read, and more clicks mean that the erasure has grown.
    """

    def __init__(self, pool: Pool, redis: Redis, shards: Sequence[int]) -> None:
        self._shards = shards
        self._pool = pool
        self._redis = redis
        self._suppressions = Suppressions()
        self._log = Log()

    async def work(self) -> int:
        """Do what can be done now; how many items in Redis have to wait."""
        for erasure in await fetch(self._pool, _SQL["open"]):
            await self._suppressions.refresh(self._pool)
            while await self._pseudonymize_events(erasure):
                pass
            after: int | None = erasure["quarantine_reached"]
            while after is not None:
                after = await self._pseudonymize_quarantine(erasure, after)
            await self._forget_name(erasure)
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
        done = await fetch(self._pool, _SQL["unfinished"])
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
        is_rewritten = await redis_data.rewrite_logs(self._redis, self._shards)
        if is_rewritten is None:
            return 1
        known = [[row["id"] for row in done], [row["size"] for row in done]]
        ended = await fetch(self._pool, _SQL["streams_done"], *known)
        if ended:
            self._log.info("erasure.done", count=len(ended), log_rewritten=is_rewritten)
        return len(done) - len(ended)

    async def _pseudonymize_events(self, erasure: DatabaseRecord) -> int:
        """Rewrite the next page of events; how many there were."""
        async with transaction(self._pool) as connection:
            taken = await connection.fetch(_SQL["events_take"], erasure["id"], _PAGE)
            if not taken:
                return 0
            events = [row["event_id"] for row in taken]
            await forget(connection, events)
            await connection.execute(_SQL["customers_lock"], erasure["customers"])
            session_of = (await load_pseudonymizer(connection)).session
            rows = await connection.fetch(_SQL["events_read"], events)
            await connection.execute(
                _PSEUDONYMIZE_EVENTS,
                [row["id"] for row in rows],
                [row["session"] and session_of(row["session"]) for row in rows],
                FIRST_DIGEST,
            )
            left = sorted((*entry_of(row)[:4], _marks(row)) for row in rows)
            await connection.executemany(_SQL["leftover"], left)
            await connection.execute(_SQL["leftovers_of_repeats"], events)
        return len(events)

    async def _pseudonymize_quarantine(
        self, erasure: DatabaseRecord, after: int
    ) -> int | None:
        """Rewrite the next page of quarantine after an id; the id reached, None at the end.

        Every payload is decoded, since quarantine has no index by person. If an entry was
        edited or deleted meanwhile, the page has to be repeated: then this is `after`.
        """
        async with transaction(self._pool) as connection:
            page = await connection.fetch(_SQL["quarantine_page"], after, _PAGE)
            ids: list[int] = [row["id"] for row in page]
            former = await connection.fetch(_SQL["history_page"], ids)
        if not page:
            return None
        entries = [Delivery(entry_of(row), row["payload"]) for row in page]
        found = await pseudonymize_payloads(self._pool, self._suppressions, entries)
        # Former payloads have no stream entry: their row ids tell them apart.
        edited = [Delivery(Entry(0, 0, 0, row["id"]), row["payload"]) for row in former]
        history = await pseudonymize_payloads(
            self._pool, self._suppressions, edited, is_arriving=False
        )
        async with transaction(self._pool) as connection:
            asked = [row for row in page if entry_of(row) in found.found]
            changed = [
                row["id"]
                for row in asked
                if await _replace_payload(
                    connection, row, found.found[entry_of(row)].payload
                )
            ]
            for entry, delivery in history.found.items():
                replacement = entry.seq, delivery.payload
                await connection.execute(_SQL["history_pseudonymize"], *replacement)
            await connection.execute(_SQL["history_hush"], changed)
            reached = ids[-1] if len(changed) == len(asked) else after
            progress = erasure["id"], reached, len(changed), erasure["size"]
            await connection.execute(_SQL["quarantine_reached"], *progress)
        return reached

    async def _forget_name(self, erasure: DatabaseRecord) -> None:
        """Finish the rows: delete the customer's record and the person's external id."""
        owner, name = erasure["workspace_id"], erasure["external_id"]
        async with transaction(self._pool) as connection:
            if await connection.fetchval(_SQL["events_left"], erasure["id"]):
                return  # another process is working on them
            # Else a publisher could write the customer's record again.
            await connection.execute(_SQL["publish_lock"])
            if name is not None:
                await connection.execute(_SQL["changes_drop"], f"{owner} {name}")
            await redis_data.forget_customer(self._redis, owner, name)
            await connection.execute(_SQL["rows_done"], erasure["id"], erasure["size"])


async def _replace_payload(
    connection: Connection, row: DatabaseRecord, payload: bytes
) -> bool:
    """Replace a row's payload; False if it was edited meanwhile."""
    found = await connection.fetchval(
        _SQL["quarantine_pseudonymize"], row["id"], row["payload"], payload
    )
    if found is not None:
        await connection.execute(_SQL["leftover"], *entry_of(row)[:4], [])
    return found is not None


def _marks(row: DatabaseRecord) -> list[str]:
    """The keys in Redis that name an event's visitor."""
    has_mark = row["link_id"] and row["visitor"]
    return [seen_key(row["link_id"], row["visitor"])] if has_mark else []
