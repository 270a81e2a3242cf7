"""The books: what the streams took in, and what became of it. For `status` and `verify`.

    accepted + spooled = recorded + repeats + quarantined + in flight + spooled

The left side and what is in flight are read from Redis, the rest from Postgres, and no
transaction spans both. So Redis is read before and after Postgres, again until nothing was
added, delivered or acknowledged in between: then all figures are of one moment, and
`is_still` says so. What a worker has committed and not yet acknowledged is in flight and
recorded at once; the balance is less than zero by so many. At rest there is nothing of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis

from scripts.queries import statements
from scripts.servers import Connection, rows, single
from scripts.streams import EntryId, Shard, Waiting, read_shard, waiting

_SQL: Final = statements("status")
_ATTEMPTS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """All figures count stream entries. `at` is Redis' clock, in Unix seconds."""

    at: float
    is_still: bool
    accepted: int
    recorded: int
    repeats: int
    quarantined: int
    shards: tuple[Shard, ...]
    waiting: tuple[Waiting, ...]
    #: Events on the disks of edges; there is no spool yet, so none.
    spooled: int = 0

    @property
    def in_flight(self) -> int:
        undelivered = sum(one.entries for one in self.waiting)
        return undelivered + sum(shard.pending for shard in self.shards)

    @property
    def settled(self) -> int:
        return self.recorded + self.repeats + self.quarantined

    @property
    def balance(self) -> int:
        """Zero at rest. More: entries are lost. Less: committed, not yet acknowledged."""
        came = self.accepted + self.spooled
        return came - self.settled - self.in_flight - self.spooled

    @property
    def is_exact(self) -> bool:
        return all(one.exact for one in self.waiting)

    def oldest(self, index: int) -> EntryId | None:
        """The oldest entry of a shard that is not acknowledged."""
        known = (self.shards[index].oldest_pending, self.waiting[index].oldest)
        return min((entry for entry in known if entry is not None), default=None)

    def lag(self, index: int) -> float:
        """How long a shard's oldest entry has waited, in seconds."""
        oldest = self.oldest(index)
        return 0.0 if oldest is None else max(0.0, round(self.at - oldest.ms / 1000, 3))


async def read_books(redis: Redis, connection: Connection, shards: int) -> Books:
    """Read both servers, anew as long as something moves, but not for ever."""
    before = await _shards(redis, shards)
    epochs, ledger = await _written(connection)
    is_still = False
    for _ in range(_ATTEMPTS):
        after = await _shards(redis, shards)
        if is_still := after == before:
            break
        before = after
        epochs, ledger = await _written(connection)
    seconds, micros = await redis.time()
    live = {shard.epoch for shard in before}
    past = sum(row["entries_added"] for row in epochs if row["epoch"] not in live)
    return Books(
        at=seconds + micros / 1e6,
        is_still=is_still,
        accepted=past + sum(shard.added for shard in before),
        recorded=ledger["recorded"],
        repeats=ledger["repeats"],
        quarantined=ledger["quarantined"],
        shards=tuple(before),
        waiting=tuple([await waiting(redis, shard) for shard in before]),
    )


async def _written(
    connection: Connection,
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    epochs = await rows(connection, _SQL["epochs"])
    return epochs, await single(connection, _SQL["books"])


async def _shards(redis: Redis, count: int) -> Sequence[Shard]:
    return [await read_shard(redis, shard) for shard in range(count)]
