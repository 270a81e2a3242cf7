"""One page of marked entries: resolved, enriched, recorded, or refused again."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple
from uuid import UUID

from ingest.contracts.telemetry import Log
from workers.counters.ledger import LedgerDelta, shard_of
from workers.model.batch import TransientError
from workers.model.rows import Row
from workers.pipeline.batch_metrics import count
from workers.pipeline.pipeline import Pipeline
from workers.postgres.database import (
    ConcurrentInsert,
    Connection,
    DataFault,
    MissingPartition,
    transaction,
)
from workers.quarantine.quarantine import RejectedEntry
from workers.redrive import marks
from workers.redrive.marks import Failure, LeasedEntries
from workers.resolve.generated_links import generate
from workers.write.customers import LockSetGrew
from workers.write.transaction import write

_PAGE: Final = 200
_ATTEMPTS: Final = 8
#: So often an entry is begun; whoever begins it once more would die of it too.
_TRIES: Final = 3
_LOG: Final = Log()


class RedriveOutcome(NamedTuple):
    """How many entries were put back, and how many are refused still."""

    redriven: int = 0
    failed: int = 0


@dataclass(slots=True)
class _Page:
    """What is to become of some entries."""

    taken: Sequence[LeasedEntries]
    #: Of the list of suppressions by which it was made.
    version: int
    rows: Sequence[Row] = ()
    failures: Sequence[Failure] = ()


@dataclass(slots=True)
class Redriver:
    """Puts entries back through the stages of a pipeline.

    The pipeline's consumer is who the books and the history name.
    """

    pipeline: Pipeline
    #: Taken and not tried to the end, which is not to be counted as a death.
    _owed: set[int] = field(default_factory=set)
    #: Bugs that were told of.
    _bugs: set[str] = field(default_factory=set)

    @classmethod
    def beside(cls, pipeline: Pipeline) -> "Redriver":
        """In the process of a worker that has this pipeline."""
        # A row of the ledger of its own, so that it never waits for the consumer's.
        return cls(replace(pipeline, consumer=f"{pipeline.consumer}/redrive"))

    async def work(self) -> int:
        """Try the next marked entries; how many there were. Raises TransientError."""
        pool = self.pipeline.pool
        if self._owed:
            await marks.release(pool, self._owed)
            self._owed.clear()
        taken = await marks.take(pool, _PAGE)
        if not taken:
            return 0
        try:
            self.pipeline.boundary("read")
            outcome = await self._put_back(taken)
        except BaseException:
            # Nobody died of it: a server went away, a bug, or the end of the process.
            self._owed.update(each.id for each in taken)
            raise
        _LOG.info("quarantine.redriven", size=len(taken), **outcome._asdict())
        return len(taken)

    async def _put_back(self, taken: Sequence[LeasedEntries]) -> RedriveOutcome:
        """Record or refuse; an envelope that cannot be recorded is found by halving."""
        if len(taken) == 1 and _is_deadly(taken[0]):
            return await self._give_up(taken[0])
        try:
            return await self._commit(await self._place(taken))
        except TransientError:
            raise
        except Exception as error:  # noqa: BLE001 -- what Postgres refuses, or a bug: whose?
            fault = error
        if len(taken) == 1:
            return await self._blame(taken[0], fault)
        middle = len(taken) // 2
        first = await self._put_back(taken[:middle])
        second = await self._put_back(taken[middle:])
        return RedriveOutcome(
            first.redriven + second.redriven, first.failed + second.failed
        )

    async def _blame(self, taken: LeasedEntries, fault: Exception) -> RedriveOutcome:
        """An entry alone failed: for what it holds, or for a bug, which may be mended."""
        if isinstance(fault, DataFault):
            culprit = RejectedEntry(taken.delivery, None, "unstorable", str(fault))
            return await self._refuse(taken, culprit)
        name = type(fault).__name__
        await marks.put_off(self.pipeline.pool, taken, f"{name}: {fault}")
        if name not in self._bugs:
            _LOG.error("quarantine.put_off", quarantine=taken.id, exc_info=fault)
        self._bugs.add(name)
        return RedriveOutcome()

    async def _place(self, taken: Sequence[LeasedEntries]) -> _Page:
        by_entry = {each.delivery.entry: each for each in taken}
        deliveries = [each.delivery for each in taken]
        found = await self.pipeline.unseal(deliveries)
        envelopes = [item.envelope for item in found.sealed]
        await generate(self.pipeline.pool, envelopes, self.pipeline.new_id)
        rows, unresolvable = await self.pipeline.place(found.sealed)
        failures = [
            Failure(by_entry[culprit.delivery.entry], culprit)
            for culprit in (*found.culprits, *unresolvable)
        ]
        failures += [_held_back(by_entry[entry]) for entry in found.newer]
        return _Page(taken, found.version, rows, failures)

    async def _commit(self, page: _Page) -> RedriveOutcome:
        """One transaction, begun again where others' came between or a partition lacks."""
        wider: frozenset[UUID] = frozenset()
        for _ in range(_ATTEMPTS):
            tally = LedgerDelta()
            try:
                async with transaction(self.pipeline.pool) as connection:
                    outcome = await self._settle(connection, page, tally, wider)
                    self.pipeline.boundary("written")
            except LockSetGrew as widen:
                wider |= widen.ids
            except MissingPartition:
                await self.pipeline.make_partitions(page.rows)
            except ConcurrentInsert:
                continue
            else:
                self.pipeline.boundary("committed")
                count(tally, 0, self.pipeline.clock())
                return outcome
        raise TransientError("rows kept changing while they were being locked")

    async def _settle(
        self,
        connection: Connection,
        page: _Page,
        tally: LedgerDelta,
        wider: frozenset[UUID],
    ) -> RedriveOutcome:
        pipeline = self.pipeline
        await pipeline.suppressions.confirm(connection, page.version)
        ours = await marks.lock(connection, page.taken)
        entries = {each.delivery.entry: each for each in ours}
        rows = [row for row in page.rows if row.entry in entries]
        mine = {each.id for each in ours}
        failures = [one for one in page.failures if one.taken.id in mine]
        placed = [entries[row.entry] for row in rows]
        await marks.done(connection, placed, pipeline.consumer)
        await marks.failed(connection, failures, pipeline.consumer)
        for each in placed:
            tally.quarantined[shard_of(each.delivery.entry)] -= 1
        who, new_id = pipeline.consumer, pipeline.new_id
        await write(connection, rows, tally, consumer=who, new_id=new_id, wider=wider)
        return RedriveOutcome(len(placed), len(failures))

    async def _give_up(self, taken: LeasedEntries) -> RedriveOutcome:
        _LOG.error("entry.given_up", quarantine=taken.id, tries=taken.tries - 1)
        culprit = RejectedEntry(
            taken.delivery, None, "crash_loop", "workers died while putting it back"
        )
        return await self._refuse(taken, culprit)

    async def _refuse(
        self, taken: LeasedEntries, culprit: RejectedEntry
    ) -> RedriveOutcome:
        version = await self.pipeline.suppressions.ready(self.pipeline.pool)
        page = _Page([taken], version, failures=[Failure(taken, culprit)])
        return await self._commit(page)


def _is_deadly(taken: LeasedEntries) -> bool:
    """Whether workers died of it often enough; of a known culprit once is enough."""
    return taken.tries > (1 if taken.reason == "crash_loop" else _TRIES)


def _held_back(taken: LeasedEntries) -> Failure:
    detail = "an envelope of a later release: upgrade the workers"
    return Failure(taken, RejectedEntry(taken.delivery, None, taken.reason, detail))
