"""The ledger: what the streams took in, and what became of it.

    accepted + spooled = recorded + repeats + quarantined + lost + in flight + spooled

The left side and what is in flight are read from Redis and from the spools that this
machine sees, the rest from Postgres, and no transaction spans both. So Redis is read before
and after Postgres, again until nothing was added, delivered or acknowledged in between: then
all figures are of one moment, and `is_still` says so. What a worker has committed and not yet
acknowledged counts as in flight and as recorded; the balance is below zero by so many. At
rest nothing counts twice.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis

from ingest.contracts.stream import EntryId
from scripts.servers import Connection, rows, single
from scripts.services.observe import spools
from scripts.services.observe.streams import (
    PendingEntries,
    ShardState,
    read_shard,
    waiting,
)
from scripts.sql import statements

_SQL: Final = statements("services/observe/status")
_ATTEMPTS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerView:
    """All figures count stream entries, or events that will be one.

    `at` is Redis' clock, in Unix seconds.
    """

    at: float
    is_still: bool
    #: Added to the streams.
    entries: int
    #: On the disks of edges that share the data directory.
    spooled: int
    recorded: int
    repeats: int
    quarantined: int
    #: Vanished before they were recorded; workers find that out within two minutes.
    lost: int
    shards: tuple[ShardState, ...]
    waiting: tuple[PendingEntries, ...]

    @property
    def accepted(self) -> int:
        return self.entries + self.spooled

    @property
    def in_flight(self) -> int:
        undelivered = sum(one.entries for one in self.waiting)
        return undelivered + sum(shard.pending for shard in self.shards)

    @property
    def settled(self) -> int:
        return self.recorded + self.repeats + self.quarantined + self.lost

    @property
    def balance(self) -> int:
        """Zero at rest. More: not accounted for. Less: committed, not yet acknowledged."""
        return self.accepted - self.settled - self.in_flight - self.spooled

    @property
    def is_exact(self) -> bool:
        return all(one.exact for one in self.waiting)

    def oldest(self, index: int) -> EntryId | None:
        """The oldest entry of a shard that is not acknowledged."""
        known = (self.shards[index].oldest_pending, self.waiting[index].oldest)
        return min((entry for entry in known if entry is not None), default=None)

    def lag(self, index: int) -> float:
        """How long a shard's oldest entry has waited, in seconds."""
        return self.age(self.oldest(index))

    def age(self, entry: EntryId | None) -> float:
        """How long ago an entry was added, in seconds; 0 where there is none."""
        return 0.0 if entry is None else max(0.0, round(self.at - entry.ms / 1000, 3))


async def read_ledger(
    redis: Redis, connection: Connection, shards: int, data: Path
) -> LedgerView:
    """Read both servers and the spools of a data directory.

    Anew as long as something moves, but not for ever.
    """
    before = await _came(redis, shards, data)
    epochs, ledger = await _written(connection)
    is_still = False
    for _ in range(_ATTEMPTS):
        after = await _came(redis, shards, data)
        if is_still := after == before:
            break
        before = after
        epochs, ledger = await _written(connection)
    seconds, micros = await redis.time()
    read, spooled = before
    live = {shard.epoch for shard in read}
    past = sum(row["entries_added"] for row in epochs if row["epoch"] not in live)
    return LedgerView(
        at=seconds + micros / 1e6,
        is_still=is_still,
        entries=past + sum(shard.added for shard in read),
        spooled=spooled,
        recorded=ledger["recorded"],
        repeats=ledger["repeats"],
        quarantined=ledger["quarantined"],
        lost=ledger["lost"],
        shards=read,
        waiting=tuple([await waiting(redis, shard) for shard in read]),
    )


async def ended(connection: Connection, ledger: LedgerView) -> list[dict[str, Any]]:
    """The epochs of streams that ended and lost entries, or may have."""
    live = [shard.epoch for shard in ledger.shards if shard.epoch is not None]
    return await rows(connection, _SQL["ended"], live)


async def _written(
    connection: Connection,
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    epochs = await rows(connection, _SQL["epochs"])
    return epochs, await single(connection, _SQL["books"])


async def _came(
    redis: Redis, shards: int, data: Path
) -> tuple[tuple[ShardState, ...], int]:
    """The shards, and what waits on the disk."""
    spooled = await asyncio.to_thread(spools.count, data)
    return tuple([await read_shard(redis, shard) for shard in range(shards)]), spooled
