"""Replays one page: records or corrects its entries, and counts them.

A page, its counts and its cursor are one transaction.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Final

from ingest.contracts.telemetry import Log
from workers.counters.ledger import LedgerDelta
from workers.model.batch import DATA_REASONS, Delivery, Entry, RejectedEntry
from workers.model.rows import Row, entry_of
from workers.pipeline.pipeline import Pipeline
from workers.postgres.database import (
    Connection,
    DataFault,
    Locks,
    columns,
    transaction,
)
from workers.postgres.sql import statements
from workers.quarantine import quarantine
from workers.quarantine.circuit_breaker import BadEntryLimit
from workers.replay.classify import ClassifiedPage, classify
from workers.replay.leases import Counts, Part, RunningReplay, Step, advance
from workers.replay.reprocess import correct, identify, visits_of
from workers.replay.skip import without_recorded
from workers.stream.epochs import returned
from workers.visits.visits import Visits
from workers.write.transaction import write

_SQL: Final = statements("replay/replays")
_LOG: Final = Log()


@dataclass(slots=True)
class _PageResult:
    """What a page changed."""

    inserted: int = 0
    changed: int = 0
    quarantined: int = 0
    #: Entries that could be recorded, and entries that their data kept from it.
    good: int = 0
    bad: int = 0

    def counts(self, page: ClassifiedPage) -> Counts:
        others = self.inserted + self.changed + self.quarantined + page.refused
        return Counts(
            scanned=page.scanned,
            inserted=self.inserted,
            changed=self.changed,
            unchanged=page.scanned - others,
            quarantined=self.quarantined,
            refused=page.refused,
        )


class PageReplayer:
    """Replays pages through the stages of a pipeline."""

    def __init__(self, pipeline: Pipeline) -> None:
        """`pipeline` is the worker's; it resolves, enriches and writes."""
        # A consumer name of its own, so that it never waits for the consumer's ledger rows,
        # and no boundary: tests that name one mean the consumer's.
        self._pipeline = replace(
            pipeline,
            consumer=f"{pipeline.consumer}/replay",
            boundary=lambda _: None,
            limit=BadEntryLimit(),
        )

    async def replay_page(
        self, part: Part, deliveries: Sequence[Delivery], step: Step
    ) -> RunningReplay:
        """Record or correct the requested entries, and advance the part by `step`.

        Raises TransientError, LeaseLost if another worker has the part, and PausedError if so
        many entries would be quarantined that the worker must be at fault. Then nothing is
        committed.
        """
        with self._pipeline.traces.of("replay", deliveries):
            pool = self._pipeline.pool
            rest = await without_recorded(pool, part, deliveries)
            page = await classify(self._pipeline, part, rest.deliveries)
            page.scanned += rest.unchanged
            return await self._apply_storable(part, page, step)

    async def _apply_storable(
        self, part: Part, page: ClassifiedPage, step: Step
    ) -> RunningReplay:
        try:
            return await self._commit(part, page, step)
        except DataFault as fault:
            if not page.fresh:
                raise
            _LOG.warning("batch.bisected", size=len(page.fresh), cause=str(fault))
        page.without(await self._find_unstorable(page.fresh, page))
        return await self._commit(part, page, step)

    async def _commit(
        self, part: Part, page: ClassifiedPage, step: Step
    ) -> RunningReplay:
        async def attempt(wider: Locks) -> tuple[_PageResult, RunningReplay]:
            async with transaction(self._pipeline.pool) as connection:
                result = await self._apply(connection, part, page, wider)
                counts = result.counts(page)
                return result, await advance(connection, part, counts, step)

        with self._pipeline.traces.writing():
            result, progress = await self._pipeline.retried(page.fresh, attempt)
        self._pipeline.limit.note(result.good, result.bad)
        return progress

    async def _apply(
        self,
        connection: Connection,
        part: Part,
        page: ClassifiedPage,
        wider: Locks,
    ) -> _PageResult:
        """Apply the page; roll it back if the replay is dry."""
        if page.has_no_changes:
            return _PageResult()
        undone = _rolled_back(connection) if part.request.is_dry else nullcontext()
        async with undone:
            return await self._record(connection, part.shard, page, wider)

    async def _record(
        self,
        connection: Connection,
        shard: int,
        page: ClassifiedPage,
        wider: Locks,
    ) -> _PageResult:
        pipeline, ledger, result = self._pipeline, LedgerDelta(), _PageResult()
        who = pipeline.consumer
        await pipeline.suppressions.confirm(connection, page.version)
        await connection.execute(_SQL["shard_lock"], shard)
        await quarantine.add(connection, page.rejections, who, ledger, pipeline.budget)
        result.quarantined = ledger.quarantined.total()
        rows = await _redrive(connection, page, ledger, who)
        held = await quarantine.find_held(connection, [row.entry for row in rows])
        fresh = [row for row in rows if row.entry not in held]
        # All are locked at once, in the order of their keys.
        wider = wider.union(Locks(visits=visits_of(page.candidates, fresh)))
        visits = await Visits.begun(connection, (), wider.visits)
        candidates, lock_set = await identify(
            connection, page.candidates, pipeline.new_id
        )
        wider = wider.union(Locks(lock_set.ids))
        await pipeline.write(connection, fresh, ledger, wider)
        result.inserted = max(0, ledger.recorded.total())
        if candidates:
            result.changed = await correct(
                connection, candidates, lock_set, visits, wider
            )
        result.good = len(page.fresh)
        result.bad = sum(ledger.reasons[reason] for reason in DATA_REASONS)
        pipeline.limit.judge(result.good, result.bad)
        await returned(connection, ledger.recorded)
        return result

    async def _find_unstorable(
        self, rows: Sequence[Row], page: ClassifiedPage
    ) -> dict[Entry, RejectedEntry]:
        """The rows that PostgreSQL refuses, found by bisection and rolled back."""
        cause = await self._refusal(rows)
        if cause is None:
            return {}
        if len(rows) == 1:
            item = page.sealed[rows[0].entry]
            return {rows[0].entry: item.rejected("unstorable", cause)}
        middle = len(rows) // 2
        found = await self._find_unstorable(rows[:middle], page)
        return found | await self._find_unstorable(rows[middle:], page)

    async def _refusal(self, rows: Sequence[Row]) -> str | None:
        """The error of recording these rows together; None if there is none."""
        pool, new_id = self._pipeline.pool, self._pipeline.new_id

        async def attempt(wider: Locks) -> None:
            async with transaction(pool) as connection, _rolled_back(connection):
                ledger = LedgerDelta()
                await write(
                    connection, rows, ledger, consumer=None, new_id=new_id, wider=wider
                )

        try:
            await self._pipeline.retried(rows, attempt)
        except DataFault as fault:
            return str(fault)
        return None


@asynccontextmanager
async def _rolled_back(connection: Connection) -> AsyncIterator[None]:
    """A transaction that is always rolled back."""
    trial = connection.transaction()
    await trial.start()
    try:
        yield
    finally:
        await trial.rollback()


async def _redrive(
    connection: Connection, page: ClassifiedPage, ledger: LedgerDelta, who: str
) -> Sequence[Row]:
    """Take the page's resolvable entries out of quarantine; the rows to record.

    Leaves out entries that were edited, redriven or discarded since they were classified.
    """
    placed = [row.entry for row in page.fresh if row.entry in page.waiting]
    if not placed:
        return page.fresh
    places = columns(placed)
    payloads = [page.sealed[entry].delivery.payload for entry in placed]
    found = [
        *await connection.fetch(_SQL["redriven"], *places, payloads, who),
        *await connection.fetch(_SQL["undropped"], *places),
    ]
    out = [entry_of(record) for record in found]
    for entry in out:
        ledger.count(ledger.quarantined, entry, -1)
    stays = page.waiting.difference(out)
    return [row for row in page.fresh if row.entry not in stays]
