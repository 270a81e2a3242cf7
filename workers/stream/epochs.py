"""The epochs of a shard's stream.

A server that lost its data starts its streams anew, and may give out the ids of old entries
again. So every epoch has a number drawn from Postgres. It is kept in Redis beside the stream,
and lost together with it.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

import orjson
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from ingest.contracts.stream import EDGES_KEY, edge_key, epoch_key, events_key
from workers.model.batch import TransientError
from workers.postgres.database import Connection, Pool, transaction
from workers.postgres.sql import statements
from workers.redis_io.connections import REDIS_ERRORS

_SQL: Final = statements("stream/epochs")


class EpochRegistry(Protocol):
    """Numbers the epochs."""

    async def draw(self, shard: int) -> int:
        """A number that no epoch of any shard has. Raises TransientError."""
        ...

    async def discard(self, epoch: int) -> None:
        """Delete a number that no entry has. Raises TransientError."""
        ...


class PostgresEpochRegistry:
    """The numbers are rows of stream_epochs."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def draw(self, shard: int) -> int:
        async with transaction(self._pool) as connection:
            epoch: int = await connection.fetchval(_SQL["epoch_draw"], shard)
            return epoch

    async def discard(self, epoch: int) -> None:
        async with transaction(self._pool) as connection:
            await connection.execute(_SQL["epoch_discard"], epoch)


async def current_epoch(redis: Redis, registry: EpochRegistry, shard: int) -> int:
    """The number of the stream's epoch; workers that find none at once all get the same.

    Raises TransientError, and what Redis raises.
    """
    known = await redis.get(epoch_key(shard))
    if known is not None:
        return int(known)
    drawn = await registry.draw(shard)
    if await redis.set(epoch_key(shard), drawn, nx=True):
        return drawn
    await registry.discard(drawn)
    return await current_epoch(redis, registry, shard)


async def sample(connection: Connection, redis: Redis, shards: Sequence[int]) -> None:
    """Write down how many entries every epoch has had so far; numbers only grow.

    Raises TransientError where Redis does not answer.
    """
    seen: dict[int, int] = {}
    for shard in shards:
        try:
            # One transaction: the count must be of the epoch that the number is of.
            async with redis.pipeline(transaction=True) as pipe:
                pipe.get(epoch_key(shard))
                pipe.xinfo_stream(events_key(shard))
                epoch, stream = await pipe.execute()
        except ResponseError as error:
            if "no such key" in str(error):
                continue
            raise TransientError(f"{error}") from error
        except REDIS_ERRORS as error:
            raise TransientError(f"{type(error).__name__}: {error}") from error
        if epoch is not None:
            seen[int(epoch)] = stream["entries-added"]
    await connection.execute(_SQL["epochs_seen"], list(seen), list(seen.values()))
    try:
        appended = await appended_by_edges(redis)
    except REDIS_ERRORS as error:
        raise TransientError(f"{type(error).__name__}: {error}") from error
    if appended:
        columns = [list(column) for column in zip(*sorted(appended), strict=True)]
        await connection.execute(_SQL["edges_appended"], *columns)


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
