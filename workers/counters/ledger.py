"""The ledger: what became of every stream entry. Imported by `write` and its neighbours.

It is counted in the transaction that decides an entry's fate, so it cannot drift from the
rows; a row per consumer, so that workers never wait for one another.
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
    """A shard in one of its lives."""

    epoch: int
    shard: int


@dataclass(slots=True)
class LedgerDelta:
    """What one transaction adds to the ledger."""

    recorded: Counter[LedgerShard] = field(default_factory=Counter)
    repeats: Counter[LedgerShard] = field(default_factory=Counter)
    quarantined: Counter[LedgerShard] = field(default_factory=Counter)
    #: Why those were quarantined; shown, and not part of the ledger.
    reasons: Counter[str] = field(default_factory=Counter)
    #: Likewise of those among them that were not kept.
    dropped: Counter[str] = field(default_factory=Counter)
    #: Those that clients caused and that were kept, by workspace; for the budget.
    admitted: Counter[UUID | None] = field(default_factory=Counter)

    def __iadd__(self, other: Self) -> Self:
        """Take in what another transaction adds."""
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
    """The shard that an entry stands in."""
    return LedgerShard(entry.epoch, entry.shard)
