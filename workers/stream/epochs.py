"""The epochs of a shard's stream.

A server that lost its data starts its streams anew, and may give out the ids of old entries
again. So every epoch has a number drawn from Postgres. It is kept in Redis beside the stream,
and lost together with it.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import orjson
from redis.asyncio import Redis

from ingest.contracts.stream import EDGES_KEY, edge_key, epoch_key
from workers.postgres.database import Connection, Pool, columns, fetch
from workers.postgres.sql import statements
from workers.redis_io.connections import redis_errors
from workers.redis_io.stream_state import read_stream

_SQL: Final = statements("stream/epochs")


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
    seen: dict[int, int] = {}
    for shard in shards:
        stream = await read_stream(redis, shard)
        if stream is not None and stream.epoch is not None:
            seen[stream.epoch] = stream.added
    await connection.execute(_SQL["epochs_seen"], list(seen), list(seen.values()))
    with redis_errors():
        appended = await appended_by_edges(redis)
    if appended:
        await connection.execute(_SQL["edges_appended"], *columns(sorted(appended)))


class EdgeAppends(NamedTuple):
    """What one run of an edge appended in one epoch, as the edge says."""

    epoch: int
    edge: str
    entries: int
    #: How many events beyond the first of each entry.
    beyond_first: int


async def appended_by_edges(redis: Redis) -> list[EdgeAppends]:
    """What the edges that are alive appended; raises what Redis raises."""
    names = [name.decode() for name in await redis.zrange(EDGES_KEY, 0, -1)]
    documents = [await redis.get(edge_key(name)) for name in names]
    found = [
        (name, orjson.loads(document))
        for name, document in zip(names, documents, strict=True)
        if document is not None
    ]
    return [
        EdgeAppends(
            int(epoch),
            f"{name} {told['since']}",
            entries,
            # An edge of a former release appends one event an entry.
            told.get("events", {}).get(epoch, entries) - entries,
        )
        for name, told in found
        for epoch, entries in told.get("appended", {}).items()
    ]
