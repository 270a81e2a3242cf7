"""Lost entries: somebody took them out of a stream before they were recorded.

Nothing tells of an entry that vanished undelivered, so losses are found by counting. Every
entry that was ever added was acknowledged, and then the ledger has it, or is pending, or
waits, or is gone:

    added - pending - undelivered - settled = gone, at least

Redis is read in one step, and the ledger after it. What a worker commits meanwhile is
subtracted twice, so this never says too many, and is exact once the shard is at rest. Only
entries that somebody else took out can be lost: what our trimmer cuts is counted beside the
stream. So a worker's mistake is no loss but an imbalance, which `verify` shows.

How many events were in the lost entries is known from what edges say that they appended.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from redis.asyncio import Redis

from ingest.contracts.stream import ENTRY_EVENTS, GROUP
from ingest.contracts.telemetry import Log
from workers.counters.ledger import LedgerShard
from workers.postgres.database import Connection
from workers.postgres.sql import statements
from workers.redis_io.stream_state import StreamState, read_stream

_SQL: Final = statements("stream/lost_entries")
_LOG: Final = Log()


async def count_losses(
    connection: Connection, redis: Redis, shards: Sequence[int]
) -> None:
    """Bring what the ledger has as lost up to date, in the connection's transaction.

    One at a time: two would both book the same loss. Raises TransientError.
    """
    # Before the streams are read: an epoch that begins later has not ended.
    begun = {row["epoch"] for row in await connection.fetch(_SQL["epochs_begun"])}
    live: list[int] = []
    for shard in shards:
        stream = await read_stream(redis, shard)
        if stream is None or stream.epoch is None:
            continue
        live.append(stream.epoch)
        await _count(connection, redis, stream, stream.epoch)
    # Recorded entries may have been added after an epoch was last seen.
    await connection.execute(_SQL["epochs_grow"], live)
    # What was in an epoch that ended is gone with its server.
    ended = sorted(begun.difference(live))
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
    missing = lost_at_least(stream, known["settled"])
    if missing == known["lost"] == 0:
        return
    is_at_rest = await _is_at_rest(redis, stream)
    if missing < known["lost"] and not is_at_rest:
        return
    # While something is in flight, nobody knows which events the lost entries had.
    beyond = known["lost_beyond"]
    if is_at_rest:
        unsettled = known["appended_beyond"] - known["settled_beyond"]
        beyond = max(0, min(unsettled, missing * (ENTRY_EVENTS - 1)))
    more = beyond - known["lost_beyond"]
    change = missing - known["lost"] + more
    if change or more:
        await connection.execute(_SQL["losses_book"], epoch, stream.shard, change, more)
    if change > 0:
        _tell(epoch, stream.shard, change)


def lost_at_least(stream: StreamState, settled: int) -> int:
    """How many entries are lost, of a stream read before its ledger was."""
    in_flight = stream.groups[GROUP].pending + stream.most_undelivered
    missing = stream.added - in_flight - settled
    return max(0, min(missing, stream.removed_by_others))


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
