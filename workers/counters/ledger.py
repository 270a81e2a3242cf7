"""The ledger: what became of every event of the streams.

It is counted in the transaction that settles an event, so it cannot drift from the rows. Each
consumer has its own rows, so workers never wait for one another. The events that are not the
first of their entry are counted beside: without them, the ledger counts entries.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Self

from workers.model.batch import Entry, Holder
from workers.postgres.database import Connection, columns
from workers.postgres.sql import statements

_SQL: Final = statements("counters/ledger")
#: The columns that a transaction adds to.
_ACCOUNTS: Final = ("recorded", "repeats", "quarantined", "beyond_first")


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
    #: How many of all these are not the first of their entry's events.
    beyond_first: Counter[LedgerShard] = field(default_factory=Counter)
    #: The reasons of the quarantined ones; for metrics, not part of the ledger.
    reasons: Counter[str] = field(default_factory=Counter)
    #: Likewise of those whose payload was not kept.
    dropped: Counter[str] = field(default_factory=Counter)
    #: Those that clients caused and that were kept; for the budget.
    admitted: Counter[Holder] = field(default_factory=Counter)

    def __iadd__(self, other: Self) -> Self:
        """Add what another transaction adds."""
        for name in ("reasons", "dropped", *_ACCOUNTS):
            getattr(self, name).update(getattr(other, name))
        return self

    def count(
        self, account: Counter[LedgerShard], entry: Entry, change: int = 1
    ) -> None:
        """Add an event to an account, or take it away."""
        shard = LedgerShard(entry.epoch, entry.shard)
        account[shard] += change
        if entry.ordinal:
            self.beyond_first[shard] += change

    async def enter(self, connection: Connection, consumer: str) -> None:
        """Add the tally to the consumer's rows of the ledger."""
        shards = sorted({*self.recorded, *self.repeats, *self.quarantined})
        if shards:
            accounts = [getattr(self, name) for name in _ACCOUNTS]
            rows = [(*shard, *(each[shard] for each in accounts)) for shard in shards]
            await connection.execute(_SQL["ledger_count"], *columns(rows), consumer)
