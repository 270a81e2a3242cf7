"""The pipeline: decode → resolve → enrich → write.

done = await pipeline.process(deliveries)      # and the consumer acknowledges them
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar
from uuid import UUID

from ingest.contracts import ids
from ingest.contracts.encoding import envelopes as encoding
from ingest.contracts.encoding.envelopes import NewerVersion, Undecodable
from ingest.contracts.metrics.worker import (
    DROPPED,
    HELD_BACK,
    LAST_COMMIT,
    QUARANTINED,
    RECORDED,
    REPEATS,
)
from ingest.contracts.telemetry import Log
from ingest.contracts.variables import StoreEmail
from workers.counters.ledger import LedgerDelta
from workers.enrich import Enrich
from workers.erasure.suppression import Suppressions
from workers.model.batch import (
    DATA_REASONS,
    Boundary,
    Delivery,
    Entry,
    RejectedEntry,
    TransientError,
)
from workers.model.emails import EmailStore
from workers.model.rows import Resolution, Row, timestamp
from workers.pipeline.row_builder import Decoded, DecodedBatch, row_of
from workers.pipeline.traces import NO_TRACES, Traces
from workers.postgres.database import (
    NO_LOCKS,
    ConcurrentInsert,
    Connection,
    DataFault,
    Locks,
    LockSetGrew,
    MissingPartition,
    Pool,
    autocommit,
    transaction,
)
from workers.postgres.email_key import load_email_key
from workers.postgres.sql import statements
from workers.quarantine import quarantine
from workers.quarantine.budget import QuarantineBudget
from workers.quarantine.circuit_breaker import BadEntryLimit
from workers.resolve import lookups, resolver
from workers.resolve.generated_links import generate
from workers.resolve.lookups import KnownNames
from workers.resolve.resolver import Unresolvable, waits_for
from workers.write.transaction import write

_SQL: Final = statements("pipeline/partitions")
_ATTEMPTS: Final = 8
_Result = TypeVar("_Result")
_LOG: Final = Log()


@dataclass(slots=True, kw_only=True)
class Pipeline:
    """Takes deliveries all the way into Postgres; `Processor` of the consumer.

    `clock` gives Unix milliseconds, `new_id` UUIDv7 values; `boundary` is told of every
    step; `keep_ip` stores IP addresses as the edge sealed them.
    """

    pool: Pool
    enrich: Enrich
    consumer: str
    clock: Callable[[], int]
    new_id: Callable[[], UUID]
    keep_ip: bool = False
    boundary: Callable[[Boundary], None] = lambda _: None
    limit: BadEntryLimit = field(default_factory=BadEntryLimit)
    budget: QuarantineBudget = field(default_factory=QuarantineBudget)
    suppressions: Suppressions = field(default_factory=Suppressions)
    store_email: StoreEmail = "encrypted"
    traces: Traces = NO_TRACES
    _emails: EmailStore | None = field(default=None, init=False)

    async def process(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """Record or quarantine; the deliveries that may be acknowledged.

        Raises TransientError where Postgres does not answer, PausedError where too many would go
        to quarantine; what was committed by then is found recorded when it is processed again.
        """
        self.boundary("read")
        with self.traces.of("batch", deliveries):
            found = await self.unseal(deliveries)
            tally = await self._record(found)
        self.boundary("committed")
        self._tell(deliveries, tally, len(found.newer))
        if not found.newer:
            return deliveries
        return [each for each in deliveries if each.entry not in found.newer]

    async def give_up(self, delivery: Delivery, detail: str) -> None:
        """Put an entry into quarantine that workers died of. Raises TransientError, PausedError."""
        found = await self.unseal([delivery])
        delivery = found.sealed[0].delivery if found.sealed else delivery
        envelope = found.sealed[0].envelope if found.sealed else None
        rejected = RejectedEntry(delivery, envelope, reason="crash_loop", detail=detail)
        rejections = found.rejections or [rejected]
        tally = await self._commit([], rejections, found.version)
        self._tell([delivery], tally, 0)

    def decode(
        self, deliveries: Sequence[Delivery]
    ) -> tuple[list[Decoded], list[RejectedEntry], set[Entry]]:
        """The envelopes, what holds none, and the entries of a later release."""
        sealed: list[Decoded] = []
        rejections: list[RejectedEntry] = []
        newer: set[Entry] = set()
        for delivery in deliveries:
            try:
                sealed.append(Decoded(delivery, encoding.decode(delivery.payload)))
            except Undecodable as error:
                rejected = RejectedEntry(
                    delivery, None, reason="undecodable", detail=str(error)
                )
                rejections.append(rejected)
            except NewerVersion:
                newer.add(delivery.entry)
        return sealed, rejections, newer

    async def unseal(self, deliveries: Sequence[Delivery]) -> DecodedBatch:
        """As `decode`, with pseudonyms in the place of who was erased. Raises TransientError.

        What is written of it must be confirmed: `suppressions.confirm`.
        """
        sealed, rejections, newer = self.decode(deliveries)
        version = await self.suppressions.ready(self.pool)
        pairs = ((item.delivery, item.envelope) for item in sealed)
        if pseudonymized := await self.suppressions.pseudonymize(self.pool, pairs):
            places = [(item, pseudonymized.get(item.delivery.entry)) for item in sealed]
            sealed = [Decoded(*pair) if pair else item for item, pair in places]
        return DecodedBatch(
            sealed=sealed,
            rejections=rejections,
            newer=frozenset(newer),
            version=version,
        )

    async def _record(self, found: DecodedBatch) -> LedgerDelta:
        """Resolve, enrich, commit; an envelope that Postgres refuses is found by halving."""
        sealed, rejections = found.sealed, found.rejections
        try:
            return await self._record_whole(found)
        except DataFault as fault:
            if not sealed:
                raise
            cause = str(fault)
        _LOG.warning("batch.bisected", size=len(sealed), cause=cause)
        if len(sealed) == 1:
            [item] = sealed
            rejected = item.rejected("unstorable", cause)
            alone = replace(found, sealed=(), rejections=[*rejections, rejected])
            return await self._record(alone)
        middle = len(sealed) // 2
        tally = await self._record(replace(found, sealed=sealed[:middle]))
        tally += await self._record(
            replace(found, sealed=sealed[middle:], rejections=())
        )
        return tally

    async def _record_whole(self, found: DecodedBatch) -> LedgerDelta:
        envelopes = [item.envelope for item in found.sealed]
        await generate(self.pool, envelopes, self.new_id)
        rows, unresolvable = await self.place(found.sealed)
        rejections = [*found.rejections, *unresolvable]
        return await self._commit(rows, rejections, found.version)

    async def place(
        self, sealed: Sequence[Decoded]
    ) -> tuple[list[Row], list[RejectedEntry]]:
        """Resolve and enrich: the rows, and what nobody can place. Raises TransientError."""
        resolved, unresolvable = await self._resolve(sealed)
        self.boundary("resolved")
        emails = await self._email_store()
        rows = [
            row_of(item, place, self.enrich, emails=emails, keep_ip=self.keep_ip)
            for item, place in resolved
        ]
        self.boundary("enriched")
        return rows, unresolvable

    async def _email_store(self) -> EmailStore:
        if self._emails is None:
            async with autocommit(self.pool) as connection:
                key = await load_email_key(connection)
            self._emails = EmailStore(key, self.store_email)
        return self._emails

    async def _resolve(
        self, sealed: Sequence[Decoded]
    ) -> tuple[list[tuple[Decoded, Resolution]], list[RejectedEntry]]:
        resolved: list[tuple[Decoded, Resolution]] = []
        rejections: list[RejectedEntry] = []
        async with autocommit(self.pool) as connection:
            envelopes = [item.envelope for item in sealed]
            names = await lookups.look_up(connection, envelopes)
        now_ms = self.clock()
        for item in sealed:
            try:
                resolution = resolver.resolve(item.envelope, names, now_ms)
                resolved.append((item, resolution))
            except Unresolvable as error:
                rejections.append(_rejected(item, error, names))
        return resolved, rejections

    async def _commit(
        self, rows: Sequence[Row], rejections: Sequence[RejectedEntry], version: int
    ) -> LedgerDelta:
        with self.traces.writing():
            return await self.retried(
                rows, lambda wider: self._write(rows, rejections, version, wider)
            )

    async def retried(
        self, rows: Sequence[Row], attempt: Callable[[Locks], Awaitable[_Result]]
    ) -> _Result:
        """Run a transaction that records these rows, again after each conflict; its result.

        `attempt` gets the locks to take from the start. Missing partitions are made. Raises
        TransientError.
        """
        wider = NO_LOCKS
        for _ in range(_ATTEMPTS):
            try:
                return await attempt(wider)
            except LockSetGrew as grown:
                wider = wider.union(grown.locks)
            except MissingPartition:
                await self.make_partitions(rows)
            except ConcurrentInsert:
                continue
        raise TransientError("rows kept changing while they were being locked")

    async def _write(
        self,
        rows: Sequence[Row],
        rejections: Sequence[RejectedEntry],
        version: int,
        wider: Locks,
    ) -> LedgerDelta:
        tally, budget = LedgerDelta(), self.budget
        async with transaction(self.pool) as connection:
            await self.suppressions.confirm(connection, version)
            # An entry may come again as if for the first time, and be resolved
            # by then: its group was lost, or its commit's reply.
            held = await quarantine.find_held(connection, [row.entry for row in rows])
            await quarantine.add(connection, rejections, self.consumer, tally, budget)
            fresh = [row for row in rows if row.entry not in held] if held else rows
            await self.write(connection, fresh, tally, wider)
            bad = sum(tally.reasons[reason] for reason in DATA_REASONS)
            self.limit.judge(len(fresh), bad)
            self.boundary("written")
        self.limit.note(len(fresh), bad)
        budget.note(tally.admitted)
        return tally

    async def write(
        self,
        connection: Connection,
        rows: Sequence[Row],
        tally: LedgerDelta,
        wider: Locks,
    ) -> None:
        """Write rows as this consumer's; see `workers.write.transaction.write`."""
        who, new_id = self.consumer, self.new_id
        await write(connection, rows, tally, consumer=who, new_id=new_id, wider=wider)

    async def make_partitions(self, rows: Sequence[Row]) -> None:
        """Make what partitions these rows lack. Raises TransientError."""
        months = {timestamp(ids.millis(row.id)).replace(day=1) for row in rows}
        async with transaction(self.pool) as connection:
            for month in sorted(months):
                if await connection.fetchval(_SQL["partition_make"], month):
                    _LOG.info("partitions.made", month=f"{month:%Y-%m}")

    def _tell(
        self,
        deliveries: Sequence[Delivery],
        tally: LedgerDelta,
        newer: int,
    ) -> None:
        count(tally, newer, self.clock())
        if newer:
            _LOG.warning("entry.newer", count=newer)
        if deliveries:
            oldest_ms = min(delivery.entry.ms for delivery in deliveries)
            _LOG.info(
                "batch.written",
                consumer=self.consumer,
                size=len(deliveries),
                recorded=tally.recorded.total(),
                repeats=tally.repeats.total(),
                quarantined=tally.quarantined.total(),
                lag_ms=self.clock() - oldest_ms,
            )


def _rejected(item: Decoded, error: Unresolvable, names: KnownNames) -> RejectedEntry:
    waits = waits_for(item.envelope, error.reason, names)
    owner = next(filter(None, lookups.workspaces(item.envelope, names)), None)
    return RejectedEntry(
        item.delivery,
        item.envelope,
        reason=error.reason,
        detail=error.detail,
        waits_for=waits,
        workspace_id=owner,
    )


def count(tally: LedgerDelta, held_back: int, now_ms: int) -> None:
    """Add what one batch brought; `now_ms` is the wall clock in Unix milliseconds."""
    # Two events that turn out to be one are fewer than before.
    RECORDED.inc(max(0, tally.recorded.total()))
    REPEATS.inc(tally.repeats.total())
    for reason, entries in tally.reasons.items():
        QUARANTINED.labels(reason).inc(entries)
    for reason, entries in tally.dropped.items():
        DROPPED.labels(reason).inc(entries)
    HELD_BACK.inc(held_back)
    LAST_COMMIT.set(now_ms / 1000)
