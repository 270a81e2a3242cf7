"""The epochs of a shard's stream, and the entries that were lost in them.

A server that lost its data starts its streams anew, and may give out the ids of old entries
again. So every epoch has a number drawn from PostgreSQL. It is kept in Redis beside the stream,
and lost together with it.

An entry is lost if somebody deleted it before it was recorded. Nothing tells of an entry that
vanished undelivered, so losses are found by counting. Every entry that was ever added was
acknowledged, and then the ledger has it, or is pending, or waits, or is gone:

    added - pending - undelivered - settled = gone, at least

Redis is read in one step, and the ledger after it. What a worker commits meanwhile is
subtracted twice, so this never says too many, and is exact once the shard is at rest. Entries
that the trimmer deletes are counted beside the stream, and are not lost. So a worker's mistake
is no loss but an imbalance, which `verify` shows. How many events were in the lost entries is
known from what edges say that they appended.

A server that was restarted with a cut file, or replaced by a replica that was behind, has
forgotten entries that it acknowledged: `added` falls. How many vanished is known from edges,
which keep the ids of what they appended, and from what workers saw before. Those that were
recorded before they vanished are not lost, nor are those whose events came in another entry: a
client that sent one again, a spool whose append was not answered. They count as repeats.
"""

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from math import ceil
from typing import Any, Final, NamedTuple, cast
from uuid import UUID

import msgspec
import orjson
from redis.asyncio import Redis

from ingest.contracts.stream import (
    EDGES_KEY,
    ENTRY_EVENTS,
    GROUP,
    VANISHED_KEY,
    EntryId,
    VanishedEntry,
    edge_key,
    epoch_key,
)
from ingest.contracts.telemetry import Log
from workers.counters.ledger import LedgerShard
from workers.model.batch import TransientError
from workers.postgres.database import Connection, Pool, columns, fetch
from workers.postgres.sql import statements
from workers.redis_io.connections import redis_errors
from workers.redis_io.stream_state import StreamState, read_stream
from workers.redis_io.streams import StreamServer, servers_of

_SQL: Final = statements("stream/epochs")
_LOG: Final = Log()
_VANISHED_AT_ONCE: Final = 1000
_ID_BYTES: Final = 16
_NO_CLAIM: Final = (None,) * 7


async def current_epoch(pool: Pool, redis: Redis, shard: int) -> int:
    """The number of the stream's epoch; workers that find none at once all get the same.

    Raises TransientError, and what Redis raises.
    """
    known = await redis.get(epoch_key(shard))
    if known is not None:
        return int(known)
    ((drawn,),) = await fetch(pool, _SQL["epoch_draw"], shard)
    if await redis.set(epoch_key(shard), drawn, nx=True):
        return int(drawn)
    await fetch(pool, _SQL["epoch_discard"], drawn)
    return await current_epoch(pool, redis, shard)


async def sample(connection: Connection, redis: Redis, shards: Sequence[int]) -> None:
    """Write down how many entries every epoch has had so far; numbers only grow.

    Raises TransientError where Redis does not answer.
    """
    with redis_errors():
        # Before the streams are read: they had at least these.
        appended = await appended_by_edges(redis)
    if appended:
        await connection.execute(_SQL["edges_appended"], *columns(appended))
    live = [each.edge for each in appended]
    gone = [each.edge for each in appended if each.until_ms is not None]
    for server in servers_of(redis, shards):
        seen, run = await _seen(redis, server)
        if seen:
            known = list(seen), list(seen.values()), run, live, gone
            await connection.execute(_SQL["epochs_seen"], *known)


async def _seen(redis: Redis, server: StreamServer) -> tuple[Mapping[int, int], str]:
    """How many entries the epochs of a server have had, and the server's run.

    Of one of several servers, nothing while it is away.
    """
    seen: dict[int, int] = {}
    try:
        with redis_errors():
            run = (await server.client.info("server"))["run_id"]
        for shard in server.shards:
            stream = await read_stream(redis, shard)
            if stream is not None and stream.epoch is not None:
                seen[stream.epoch] = stream.added
    except TransientError:
        if not server.name:
            raise
        return {}, ""
    return seen, run


async def take_vanished(connection: Connection, redis: Redis) -> None:
    """Keep the events of vanished entries that edges name; in no transaction.

    Raises TransientError where Redis does not answer.
    """
    with redis_errors():
        cursor, is_over = 0, False
        while not is_over:
            cursor, members = await redis.sscan(
                VANISHED_KEY, cursor, count=_VANISHED_AT_ONCE
            )
            is_over = cursor == 0
            rows = [row for member in members for row in _vanished_events(member)]
            if rows:
                await connection.execute(_SQL["vanished_told"], *columns(rows))
            if members:
                # Only now: what is named twice is kept once.
                await cast("Awaitable[int]", redis.srem(VANISHED_KEY, *members))


def _vanished_events(member: bytes) -> Iterable[tuple[object, ...]]:
    try:
        one = VanishedEntry.unpack(member)
    except msgspec.DecodeError:
        return  # no edge of ours wrote it
    entry, ids = EntryId.of(one.entry), one.event_ids
    # PostgreSQL has no arrays of arrays of different lengths.
    claims = {
        each.ordinal: (*each[1:-2], "\n".join(each.namespaces), each.code)
        for each in one.claims
    }
    for index in range(len(ids) // _ID_BYTES):
        event_id = UUID(bytes=ids[index * _ID_BYTES : (index + 1) * _ID_BYTES])
        place = (one.epoch, one.shard, *entry, index, event_id)
        yield *place, *claims.get(index, _NO_CLAIM)


class EdgeAppends(NamedTuple):
    """What one run of an edge appended in one epoch, as the edge says."""

    epoch: int
    edge: str
    entries: int
    #: How many events beyond the first of each entry.
    beyond_first: int
    #: How many of the entries vanished from the stream; how many more may have; since when, in
    #: Unix milliseconds; and the run of the server that the edge asked for that.
    vanished: int
    unsure: int
    since_ms: int
    run: str
    #: When it last appended, Unix milliseconds, if it is gone: the edge that has its log says so.
    until_ms: int | None = None


async def appended_by_edges(redis: Redis) -> list[EdgeAppends]:
    """What the edges that are alive appended; raises what Redis raises."""
    names = [name.decode() for name in await redis.zrange(EDGES_KEY, 0, -1)]
    documents = [await redis.get(edge_key(name)) for name in names]
    found = [
        (name, orjson.loads(document))
        for name, document in zip(names, documents, strict=True)
        if document is not None
    ]
    # What an edge said that is gone may still be there beside what its log says.
    found += [
        (each["name"], each) for _, told in found for each in told.get("left", ())
    ]
    appends = [
        _appends(name, told, epoch)
        for name, told in found
        for epoch in told.get("appended", {})
    ]
    known = {(each.epoch, each.edge): each for each in appends}
    return [known[place] for place in sorted(known)]


def _appends(edge: str, told: Mapping[str, Any], epoch: str) -> EdgeAppends:
    entries = told["appended"][epoch]
    vanished, unsure, since_ms = told.get("vanished", {}).get(epoch, (0, 0, 0))
    return EdgeAppends(
        int(epoch),
        f"{edge} {told['since']}",
        entries,
        # An edge of a former release appends one event an entry, and tells no run.
        told.get("events", {}).get(epoch, entries) - entries,
        vanished,
        unsure,
        since_ms,
        told.get("runs", {}).get(epoch) or told.get("run") or "",
        told.get("until"),
    )


async def count_losses(
    connection: Connection, redis: Redis, shards: Sequence[int]
) -> None:
    """Bring what the ledger has as lost up to date, in the connection's transaction.

    One at a time: two would both book the same loss. Raises TransientError.
    """
    await connection.execute(_SQL["vanished_settled"])
    # Before the streams are read: an epoch that begins later has not ended.
    begun = await connection.fetch(_SQL["epochs_begun"])
    live: list[int] = []
    for server in servers_of(redis, shards):
        for shard in server.shards:
            try:
                stream = await read_stream(redis, shard)
                if stream is not None and stream.epoch is not None:
                    await _count(connection, redis, stream, stream.epoch)
                    live.append(stream.epoch)
            except TransientError:
                if not server.name:
                    raise
                # One of several servers is away, and not what it has.
                live += [row["epoch"] for row in begun if row["shard"] == shard]
    # Recorded entries may have been added after an epoch was last seen.
    await connection.execute(_SQL["epochs_grow"], live)
    # What was in an epoch that ended is gone with its server.
    ended = sorted({row["epoch"] for row in begun}.difference(live))
    for row in await connection.fetch(_SQL["losses_of_the_ended"], ended):
        _tell(row["epoch"], row["shard"], row["change"])


async def returned(connection: Connection, shards: Iterable[LedgerShard]) -> None:
    """Count as lost no more what was just counted in epochs that ended."""
    if epochs := sorted({shard.epoch for shard in shards}):
        await connection.execute(_SQL["losses_returned"], epochs)


async def _count(
    connection: Connection, redis: Redis, stream: StreamState, epoch: int
) -> None:
    # Without its group everything seems to wait.
    if GROUP not in stream.groups:
        return
    [known] = await connection.fetch(_SQL["losses_known"], epoch, stream.shard)
    missing = lost_at_least(stream, known["settled"], known["vanished"])
    unsettled = max(0, known["appended_beyond"] - known["settled_beyond"])
    is_at_rest = await _is_at_rest(redis, stream)
    if is_at_rest and known["is_restarted"]:
        # The edge that appended these events may not have lived to miss their entries.
        missing = max(missing, ceil(unsettled / (ENTRY_EVENTS - 1)))
        vanished = known["settled"] + missing - stream.added
        if vanished > known["vanished"]:
            # Not by how many more: edges tell `sample` of the same ones meanwhile.
            least = epoch, vanished, stream.added
            await connection.execute(_SQL["epochs_vanished"], *least)
    if missing == known["lost"] == 0 or (missing < known["lost"] and not is_at_rest):
        return
    # While something is in flight, nobody knows which events the lost entries had.
    beyond = known["lost_beyond"]
    if is_at_rest:
        beyond = max(unsettled, known["vanished_beyond"])
        beyond = min(beyond, missing * (ENTRY_EVENTS - 1))
    more = beyond - known["lost_beyond"]
    change = missing - known["lost"] + more
    if change or more:
        await connection.execute(_SQL["losses_book"], epoch, stream.shard, change, more)
    if change > 0:
        _tell(epoch, stream.shard, change)


def lost_at_least(stream: StreamState, settled: int, vanished: int) -> int:
    """How many entries are lost, of a stream read before its ledger was.

    So many vanished from it.
    """
    in_flight = stream.groups[GROUP].pending + stream.most_undelivered
    missing = stream.added + vanished - in_flight - settled
    return max(0, min(missing, stream.removed_by_others + vanished))


async def _is_at_rest(redis: Redis, before: StreamState) -> bool:
    """Whether nothing was in flight and nothing moved while the ledger was read."""
    if before.groups[GROUP].pending or before.undelivered:
        return False
    now = await read_stream(redis, before.shard)
    return now is not None and (now.epoch, now.added, now.groups) == (
        before.epoch,
        before.added,
        before.groups,
    )


def _tell(epoch: int, shard: int, count: int) -> None:
    _LOG.warning("ledger.lost", epoch=epoch, shard=shard, count=count)
