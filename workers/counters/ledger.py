"""The ledger: counts what became of every stream entry.

The transaction that records, repeats or quarantines an entry also counts it, so the ledger
cannot drift from the rows. It has a row for each consumer, so workers never wait for one
another.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Self
from uuid import UUID

from workers.model.batch import Entry
from workers.postgres.database import Connection
from workers.postgres.sql import statements

_SQL: Final = statements("counters/ledger")


class LedgerShard(NamedTuple):
    """A shard in one epoch of its stream."""

    epoch: int
    shard: int


@dataclass(slots=True)
class LedgerDelta:
    """What one transaction adds to the ledger."""

    recorded: Counter[LedgerShard] = field(default_factory=Counter)
    repeats: Counter[LedgerShard] = field(default_factory=Counter)
    quarantined: Counter[LedgerShard] = field(default_factory=Counter)
    #: The reasons of those; for metrics, not part of the ledger.
    reasons: Counter[str] = field(default_factory=Counter)
    #: Likewise of those whose payload was not kept.
    dropped: Counter[str] = field(default_factory=Counter)
    #: Those that clients caused and that were kept, by workspace; for the budget.
    admitted: Counter[UUID | None] = field(default_factory=Counter)

    def __iadd__(self, other: Self) -> Self:
        """Add what another transaction adds."""
        self.recorded.update(other.recorded)
        self.repeats.update(other.repeats)
        self.quarantined.update(other.quarantined)
        self.reasons.update(other.reasons)
        self.dropped.update(other.dropped)
        return self

    async def enter(self, connection: Connection, consumer: str) -> None:
        """Add the tally to the consumer's rows of the ledger."""
        shards = sorted({*self.recorded, *self.repeats, *self.quarantined})
        if shards:
            await connection.execute(
                _SQL["ledger_count"],
                [shard.epoch for shard in shards],
                [shard.shard for shard in shards],
                [self.recorded[shard] for shard in shards],
                [self.repeats[shard] for shard in shards],
                [self.quarantined[shard] for shard in shards],
                consumer,
            )


def shard_of(entry: Entry) -> LedgerShard:
    """The shard of an entry."""
    return LedgerShard(entry.epoch, entry.shard)
