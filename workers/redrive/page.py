"""Redrives one page of marked entries: resolves, enriches, and records or refuses them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from ingest.contracts.telemetry import Log
from workers.counters.ledger import LedgerDelta
from workers.model.batch import RejectedEntry, TransientError
from workers.model.rows import Row
from workers.pipeline.pipeline import Pipeline, count
from workers.postgres.database import (
    Connection,
    DataFault,
    Locks,
    transaction,
)
from workers.redrive import marks
from workers.redrive.marks import LeasedEntry, RefusedAgain
from workers.resolve.generated_links import generate

_PAGE: Final = 200
#: After so many crashed attempts an entry is given up.
_MAX_TRIES: Final = 3
_LOG: Final = Log()


#: The numbers of entries that were `redriven`, and that `failed` again.
RedriveOutcome = Counter[str]


@dataclass(slots=True)
class _Page:
    """Leased entries, with rows to record and failures to store."""

    leased: Sequence[LeasedEntry]
    #: The version of the suppressions used.
    version: int
    rows: Sequence[Row] = ()
    failures: Sequence[RefusedAgain] = ()


class Redriver:
    """Sends entries through a worker's pipeline again."""

    def __init__(self, pipeline: Pipeline) -> None:
        # A consumer name of its own, so that it never waits for the consumer's ledger rows.
        consumer = f"{pipeline.consumer}/redrive"
        self.pipeline = replace(pipeline, consumer=consumer)
        #: Leased and not finished, without a crash.
        self._unfinished: set[int] = set()
        #: Exceptions that were logged already.
        self._logged_bugs: set[str] = set()

    async def work(self) -> int:
        """Redrive the next marked entries; how many there were. Raises TransientError."""
        pool = self.pipeline.pool
        if self._unfinished:
            await marks.release(pool, self._unfinished)
            self._unfinished.clear()
        leased = await marks.take(pool, _PAGE)
        if not leased:
            return 0
        try:
            self.pipeline.boundary("read")
            deliveries = [each.delivery for each in leased]
            with self.pipeline.traces.of("redrive", deliveries):
                outcome = await self._redrive(leased)
        except BaseException:
            # Not a crash: an outage, a bug, or the end of the process.
            self._unfinished.update(each.id for each in leased)
            raise
        _LOG.info("quarantine.redriven", size=len(leased), **outcome)
        return len(leased)

    async def _redrive(self, leased: Sequence[LeasedEntry]) -> RedriveOutcome:
        """Record or refuse; an entry that cannot be recorded is found by bisection."""
        if len(leased) == 1 and _is_crash_loop(leased[0]):
            return await self._give_up(leased[0])
        try:
            return await self._commit(await self._resolve(leased))
        except TransientError:
            raise
        except Exception as error:  # noqa: BLE001 -- what Postgres refuses, or a bug: whose?
            failure = error
        if len(leased) == 1:
            return await self._fail_one(leased[0], failure)
        middle = len(leased) // 2
        outcome = await self._redrive(leased[:middle])
        outcome.update(await self._redrive(leased[middle:]))
        return outcome

    async def _fail_one(self, leased: LeasedEntry, error: Exception) -> RedriveOutcome:
        """Refuse an entry for its data, or postpone it after a bug, which may be fixed."""
        if isinstance(error, DataFault):
            return await self._fail(leased, leased.rejected("unstorable", str(error)))
        name = type(error).__name__
        await marks.postpone(self.pipeline.pool, leased, f"{name}: {error}")
        if name not in self._logged_bugs:
            _LOG.error("quarantine.put_off", quarantine=leased.id, exc_info=error)
        self._logged_bugs.add(name)
        return Counter()

    async def _resolve(self, leased: Sequence[LeasedEntry]) -> _Page:
        by_entry = {each.delivery.entry: each for each in leased}
        deliveries = [each.delivery for each in leased]
        found = await self.pipeline.unseal(deliveries)
        envelopes = [item.envelope for item in found.sealed]
        await generate(self.pipeline.pool, envelopes, self.pipeline.new_id)
        rows, unresolvable = await self.pipeline.place(found.sealed)
        failures = [
            RefusedAgain(by_entry[rejected.delivery.entry], rejected)
            for rejected in (*found.rejections, *unresolvable)
        ]
        failures += [_newer_failure(by_entry[entry]) for entry in found.newer]
        return _Page(leased, found.version, rows, failures)

    async def _commit(self, page: _Page) -> RedriveOutcome:
        pipeline = self.pipeline

        async def attempt(wider: Locks) -> tuple[RedriveOutcome, LedgerDelta]:
            ledger = LedgerDelta()
            async with transaction(pipeline.pool) as connection:
                outcome = await self._apply(connection, page, ledger, wider)
                pipeline.boundary("written")
            return outcome, ledger

        with pipeline.traces.writing():
            outcome, ledger = await pipeline.retried(page.rows, attempt)
        pipeline.boundary("committed")
        count(ledger, 0, pipeline.clock())
        return outcome

    async def _apply(
        self,
        connection: Connection,
        page: _Page,
        ledger: LedgerDelta,
        wider: Locks,
    ) -> RedriveOutcome:
        pipeline = self.pipeline
        await pipeline.suppressions.confirm(connection, page.version)
        open_entries = await marks.lock(connection, page.leased)
        entries = {each.delivery.entry: each for each in open_entries}
        rows = [row for row in page.rows if row.entry in entries]
        open_ids = {each.id for each in open_entries}
        failures = [one for one in page.failures if one.leased.id in open_ids]
        placed = [entries[row.entry] for row in rows]
        await marks.mark_redriven(connection, placed, pipeline.consumer)
        await marks.mark_failed(connection, failures, pipeline.consumer)
        for each in placed:
            ledger.count(ledger.quarantined, each.delivery.entry, -1)
        await pipeline.write(connection, rows, ledger, wider)
        return Counter(redriven=len(placed), failed=len(failures))

    async def _give_up(self, leased: LeasedEntry) -> RedriveOutcome:
        _LOG.error("entry.given_up", quarantine=leased.id, tries=leased.tries - 1)
        detail = "workers died while putting it back"
        return await self._fail(leased, leased.rejected("crash_loop", detail))

    async def _fail(
        self, leased: LeasedEntry, rejected: RejectedEntry
    ) -> RedriveOutcome:
        version = await self.pipeline.suppressions.ready(self.pipeline.pool)
        page = _Page([leased], version, failures=[RefusedAgain(leased, rejected)])
        return await self._commit(page)


def _is_crash_loop(leased: LeasedEntry) -> bool:
    """Whether it crashed too many workers; one crash is enough for a known crash loop."""
    return leased.tries > (1 if leased.reason == "crash_loop" else _MAX_TRIES)


def _newer_failure(leased: LeasedEntry) -> RefusedAgain:
    detail = "an envelope of a later release: upgrade the workers"
    return RefusedAgain(leased, leased.rejected(leased.reason, detail))
