"""The ledger: what the streams took in, and what became of it.

    accepted + spooled = recorded + repeats + quarantined + lost + in flight + spooled

The left side and what is in flight are read from Redis and from the spools that this
machine sees, the rest from Postgres, and no transaction spans both. So Redis is read before
and after Postgres, again until nothing was added, delivered or acknowledged in between: then
all figures are of one moment, and `is_still` says so. What a worker has committed and not yet
acknowledged is both in flight and recorded: the balance is negative by so many. At rest there
is nothing of it.

All figures count events. Redis counts entries, each of at least one event. How many events
they have beyond their first is known from the ledger once an entry is settled, and before
that from what edges say that they appended.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from redis.asyncio import Redis

from ingest.contracts.stream import EntryId
from scripts.servers import Connection, rows, single
from scripts.services.observe import spools
from scripts.services.observe.streams import PendingEntries, read_shard, waiting
from scripts.sql import statements
from workers.redis_io.stream_state import StreamState
from workers.stream.epochs import appended_by_edges

_SQL: Final = statements("services/observe/status")
_ATTEMPTS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamsView:
    """The shards' streams at one moment: `at`, by Redis' clock, in Unix seconds."""

    at: float
    shards: tuple[StreamState, ...]
    waiting: tuple[PendingEntries, ...]

    @property
    def entries_in_flight(self) -> int:
        undelivered = sum(one.entries for one in self.waiting)
        return undelivered + sum(shard.recorder.pending for shard in self.shards)

    @property
    def is_exact(self) -> bool:
        return all(one.exact for one in self.waiting)

    @property
    def lag_seconds(self) -> float:
        """How long the oldest entry of all shards has waited."""
        return max(map(self.lag, range(len(self.shards))), default=0.0)

    def oldest(self, index: int) -> EntryId | None:
        """The oldest entry of a shard that is not acknowledged."""
        known = (self.shards[index].recorder.oldest_pending, self.waiting[index].oldest)
        return min((entry for entry in known if entry is not None), default=None)

    def lag(self, index: int) -> float:
        """How long a shard's oldest entry has waited, in seconds."""
        return self.age(self.oldest(index))

    def age(self, entry: EntryId | None) -> float:
        """How long ago an entry was added, in seconds; 0 where there is none."""
        return 0.0 if entry is None else max(0.0, round(self.at - entry.ms / 1000, 3))


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerView(StreamsView):
    """All figures count events, unless they say otherwise."""

    is_still: bool
    #: Entries that were added to the streams, those that vanished included.
    entries: int
    #: Events beyond the first of their entry: settled or lost; and appended by edges to
    #: entries that are not settled, or not accounted for.
    beyond_first: int
    unsettled_beyond_first: int
    #: On the disks of edges that share the data directory.
    spooled: int
    recorded: int
    repeats: int
    quarantined: int
    #: Gone before they were recorded; workers find that out within two minutes.
    lost: int

    @property
    def accepted(self) -> int:
        return self.streamed + self.spooled

    @property
    def streamed(self) -> int:
        """What was added to the streams."""
        return self.entries + self.beyond_first + self.unsettled_beyond_first

    @property
    def in_flight(self) -> int:
        entries = self.entries_in_flight
        return entries + self.unsettled_beyond_first if entries else 0

    @property
    def settled(self) -> int:
        return self.recorded + self.repeats + self.quarantined + self.lost

    @property
    def balance(self) -> int:
        """Zero at rest. More: not accounted for. Less: committed, not yet acknowledged."""
        return self.accepted - self.settled - self.in_flight - self.spooled


class _Came(NamedTuple):
    """What Redis says."""

    shards: tuple[StreamState, ...]
    #: By epoch and edge: events beyond the first of their entry.
    appended: Mapping[tuple[int, str], int]


class _Written(NamedTuple):
    """What Postgres says."""

    epochs: Sequence[Mapping[str, Any]]
    ledger: Mapping[str, int]
    appended: Mapping[tuple[int, str], int]


async def read_ledger(
    redis: Redis, connection: Connection, shards: Sequence[int], data: Path
) -> LedgerView:
    """Read both servers and the spools of a data directory.

    Again as long as something moves, a few times.
    """
    before = await _came(redis, shards)
    written = await _written(connection)
    is_still = False
    for _ in range(_ATTEMPTS):
        after = await _came(redis, shards)
        if is_still := after == before:
            break
        before = after
        written = await _written(connection)
    streams = await _view(redis, before.shards)
    live = {shard.epoch for shard in before.shards}
    past = [row for row in written.epochs if row["epoch"] not in live]
    vanished = sum(row["vanished"] for row in written.epochs if row["epoch"] in live)
    return LedgerView(
        at=streams.at,
        is_still=is_still,
        entries=sum(row["entries_added"] for row in past)
        + sum(shard.added for shard in before.shards)
        + vanished,
        beyond_first=sum(row["beyond_first"] for row in written.epochs),
        unsettled_beyond_first=_unsettled_beyond_first(before, written, live),
        spooled=await asyncio.to_thread(spools.count, data),
        recorded=written.ledger["recorded"],
        repeats=written.ledger["repeats"],
        quarantined=written.ledger["quarantined"],
        lost=written.ledger["lost"],
        shards=before.shards,
        waiting=streams.waiting,
    )


async def read_streams(redis: Redis, shards: Sequence[int]) -> StreamsView:
    """What Redis alone knows. Raises Unreachable."""
    return await _view(redis, await _states(redis, shards))


async def read_totals(connection: Connection) -> dict[str, Any]:
    """What PostgreSQL alone knows: recorded, repeats, quarantined, lost."""
    return await single(connection, _SQL["ledger"])


async def _view(redis: Redis, states: tuple[StreamState, ...]) -> StreamsView:
    seconds, micros = await redis.time()
    return StreamsView(
        at=seconds + micros / 1e6,
        shards=states,
        waiting=tuple([await waiting(redis, shard) for shard in states]),
    )


async def _states(redis: Redis, shards: Sequence[int]) -> tuple[StreamState, ...]:
    return tuple([await read_shard(redis, shard) for shard in shards])


def _unsettled_beyond_first(
    came: _Came, written: _Written, live: AbstractSet[int | None]
) -> int:
    """What edges appended to live epochs beyond what the ledger has.

    An edge that died within its last second had not told all of it.
    """
    appended: Counter[int] = Counter()
    for epoch, edge in came.appended.keys() | written.appended.keys():
        known = (
            source.get((epoch, edge), 0) for source in (came.appended, written.appended)
        )
        appended[epoch] += max(known)
    kept = {row["epoch"]: row["beyond_first"] for row in written.epochs}
    return sum(
        max(0, count - kept.get(epoch, 0))
        for epoch, count in appended.items()
        if epoch in live
    )


async def ended(
    connection: Connection, shards: Sequence[StreamState]
) -> list[dict[str, Any]]:
    """The epochs of streams that ended and lost entries, or may have."""
    live = [shard.epoch for shard in shards if shard.epoch is not None]
    return await rows(connection, _SQL["ended"], live)


async def losses(connection: Connection) -> list[dict[str, Any]]:
    """The epochs of streams that lost events, or may have."""
    return await rows(connection, _SQL["losses"])


def at_most(lost: int, found: Sequence[Mapping[str, Any]]) -> int | None:
    """How many events are lost at most, by `losses`; None if nobody knows."""
    if any(each["at_most"] is None for each in found):
        return None
    return lost + sum(int(each["at_most"] - each["lost"]) for each in found)


async def _written(connection: Connection) -> _Written:
    epochs = await rows(connection, _SQL["epochs"])
    edges = await rows(connection, _SQL["edges"])
    return _Written(
        epochs,
        await read_totals(connection),
        {(row["epoch"], row["edge"]): row["beyond_first"] for row in edges},
    )


async def _came(redis: Redis, shards: Sequence[int]) -> _Came:
    appended = {
        (each.epoch, each.edge): each.beyond_first
        for each in await appended_by_edges(redis)
        if each.beyond_first
    }
    return _Came(await _states(redis, shards), appended)
