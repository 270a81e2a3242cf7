"""Entries that are lost: somebody took them out of a stream before they were recorded.

Imported by the jobs, which count every minute, and by replays. Nothing tells of an entry that vanished
undelivered, so it is found by counting. Every entry that was ever added was acknowledged,
and then the ledger has it, or is pending, or waits, or is gone:

    added - pending - undelivered - settled = gone, at least

Redis is read in one step and the ledger after it. What a worker commits meanwhile is
subtracted twice, so that this never says too many, and is exact once the shard is at rest.
And entries can only be lost that somebody else took out: what our trimmer cuts is counted
beside the stream. So a worker's mistake is no loss but an imbalance, which `verify` shows.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from redis.asyncio import Redis

from ingest.contracts.stream import GROUP
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

    One at a time: two would both book the same loss. Raises Trouble.
    """
    # Read before the streams are: a life that begins later is not among those that are looked
    # at, and is not over.
    begun = {row["epoch"] for row in await connection.fetch(_SQL["lives_begun"])}
    live: list[int] = []
    for shard in shards:
        stream = await read_stream(redis, shard)
        if stream is None or stream.epoch is None:
            continue
        live.append(stream.epoch)
        await _count(connection, redis, stream, stream.epoch)
    # Recorded entries may have been added after a life was last seen.
    await connection.execute(_SQL["lives_grow"], live)
    # What was in a life that ended went with its server.
    ended = sorted(begun.difference(live))
    for row in await connection.fetch(_SQL["losses_of_the_dead"], ended):
        _tell(row["epoch"], row["shard"], row["change"])


async def returned(connection: Connection, shards: Iterable[LedgerShard]) -> None:
    """Call lost no more what was just counted in lives that ended."""
    if epochs := sorted({shard.epoch for shard in shards}):
        await connection.execute(_SQL["losses_returned"], epochs)


async def _count(
    connection: Connection, redis: Redis, stream: StreamState, epoch: int
) -> None:
    # Without its group everything seems to wait.
    if GROUP not in stream.groups:
        return
    row = await connection.fetchrow(_SQL["losses_known"], epoch, stream.shard)
    settled, lost = row or (0, 0)
    missing = lost_at_least(stream, settled)
    if missing < lost and not await _is_at_rest(redis, stream):
        return
    if missing != lost:
        change = missing - lost
        await connection.execute(_SQL["losses_book"], epoch, stream.shard, change)
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
