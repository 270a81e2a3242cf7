"""Replays one page: records or corrects its entries, and counts them.

A page, its counts and its cursor are one transaction, which is retried after conflicts with
other transactions or when a partition is missing.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from ingest.contracts.telemetry import Log
from workers.counters.ledger import LedgerDelta
from workers.model.batch import Delivery, Entry, TransientError
from workers.model.locks import Locks, LockSetGrew
from workers.model.rejected import DATA_REASONS, RejectedEntry
from workers.model.rows import Row
from workers.pipeline.pipeline import Pipeline
from workers.postgres.database import (
    ConcurrentInsert,
    Connection,
    DataFault,
    MissingPartition,
    transaction,
)
from workers.postgres.sql import statements
from workers.quarantine import quarantine
from workers.replay.classify import ClassifiedPage, classify
from workers.replay.leases import Counts, Part, RunningReplay, Step, advance
from workers.replay.recorded import entry_of
from workers.replay.reprocess import correct, identify, visits_of
from workers.stream import lost_entries
from workers.visits.visits import Visits
from workers.write.transaction import write

_SQL: Final = statements("replay/replays")
_ATTEMPTS: Final = 8
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
        """`pipeline` resolves and enriches; the ledger shows its consumer's name."""
        self._pipeline = pipeline

    async def replay_page(
        self, part: Part, deliveries: Sequence[Delivery], step: Step
    ) -> RunningReplay:
        """Record or correct the requested entries, and advance the part by `step`.

        Raises TransientError, LeaseLost if another worker has the part, and PausedError if so
        many entries would be quarantined that the worker must be at fault. Then nothing is
        committed.
        """
        page = await classify(self._pipeline, part, deliveries)
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
        wider = Locks()
        for _ in range(_ATTEMPTS):
            try:
                async with transaction(self._pipeline.pool) as connection:
                    result = await self._apply(connection, part, page, wider)
                    progress = await advance(
                        connection, part, result.counts(page), step
                    )
            except LockSetGrew as grown:
                wider = wider.union(grown.locks)
            except MissingPartition:
                await self._pipeline.make_partitions(page.fresh)
            except ConcurrentInsert:
                continue
            else:
                self._pipeline.limit.note(result.good, result.bad)
                return progress
        raise TransientError("rows kept changing while they were being locked")

    async def _apply(
        self,
        connection: Connection,
        part: Part,
        page: ClassifiedPage,
        wider: Locks,
    ) -> _PageResult:
        """Apply the page; roll it back if the replay is dry."""
        result = _PageResult()
        if page.has_no_changes:
            return result
        if not part.request.is_dry:
            await self._record(connection, part, page, wider, result)
            return result
        async with _rolled_back(connection):
            await self._record(connection, part, page, wider, result)
        return result

    async def _record(
        self,
        connection: Connection,
        part: Part,
        page: ClassifiedPage,
        wider: Locks,
        result: _PageResult,
    ) -> None:
        pipeline, ledger = self._pipeline, LedgerDelta()
        who, new_id = pipeline.consumer, pipeline.new_id
        await pipeline.suppressions.confirm(connection, page.version)
        await connection.execute(_SQL["shard_lock"], part.shard)
        await quarantine.add(connection, page.rejections, who, ledger, pipeline.budget)
        result.quarantined = ledger.quarantined.total()
        rows = await _redrive(connection, page, ledger, who)
        held = await quarantine.find_held(connection, [row.entry for row in rows])
        fresh = [row for row in rows if row.entry not in held]
        # All are locked at once, in the order of their keys.
        wider = wider.union(Locks(visits=visits_of(page.candidates, fresh)))
        visits = await Visits.begun(connection, (), wider.visits)
        candidates, lock_set = await identify(connection, page.candidates, new_id)
        wider = wider.union(Locks(lock_set.ids))
        await write(connection, fresh, ledger, consumer=who, new_id=new_id, wider=wider)
        result.inserted = max(0, ledger.recorded.total())
        if candidates:
            result.changed = await correct(
                connection, candidates, lock_set, visits, wider
            )
        result.good = len(page.fresh)
        result.bad = sum(ledger.reasons[reason] for reason in DATA_REASONS)
        pipeline.limit.judge(result.good, result.bad)
        await lost_entries.returned(connection, ledger.recorded)

    async def _find_unstorable(
        self, rows: Sequence[Row], page: ClassifiedPage
    ) -> dict[Entry, RejectedEntry]:
        """The rows that PostgreSQL refuses, found by bisection and rolled back."""
        cause = await self._refusal(rows)
        if cause is None:
            return {}
        if len(rows) == 1:
            item = page.sealed[rows[0].entry]
            rejected = RejectedEntry(item.delivery, item.envelope, "unstorable", cause)
            return {rows[0].entry: rejected}
        middle = len(rows) // 2
        found = await self._find_unstorable(rows[:middle], page)
        return found | await self._find_unstorable(rows[middle:], page)

    async def _refusal(self, rows: Sequence[Row]) -> str | None:
        """The error of recording these rows together; None if there is none."""
        wider = Locks()
        for _ in range(_ATTEMPTS):
            try:
                async with (
                    transaction(self._pipeline.pool) as connection,
                    _rolled_back(connection),
                ):
                    new_id = self._pipeline.new_id
                    await write(
                        connection,
                        rows,
                        LedgerDelta(),
                        consumer=None,
                        new_id=new_id,
                        wider=wider,
                    )
            except DataFault as fault:
                return str(fault)
            except LockSetGrew as grown:
                wider = wider.union(grown.locks)
            except MissingPartition:
                await self._pipeline.make_partitions(rows)
            except ConcurrentInsert:
                continue
            else:
                return None
        raise TransientError("rows kept changing while they were being locked")


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
    columns = [list(part) for part in zip(*placed, strict=True)]
    payloads = [page.sealed[entry].delivery.payload for entry in placed]
    found = [
        *await connection.fetch(_SQL["redriven"], *columns, payloads, who),
        *await connection.fetch(_SQL["undropped"], *columns),
    ]
    out = [entry_of(record) for record in found]
    for entry in out:
        ledger.count(ledger.quarantined, entry, -1)
    stays = page.waiting.difference(out)
    return [row for row in page.fresh if row.entry not in stays]
