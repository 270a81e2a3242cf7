"""Reads the epochs of streams, and has what they have compared with what was appended."""

from collections.abc import Sequence

from redis.asyncio import Redis

from ingest.contracts.stream import epoch_key
from ingest.durable.comparison import Comparisons


class EpochReader:
    """Of the streams of one server."""

    def __init__(self, redis: Redis, comparisons: Comparisons) -> None:
        """`comparisons` get the epochs, and which run of the server they were read of."""
        self._redis = redis
        self._comparisons = comparisons

    async def read(self, shards: Sequence[int]) -> str | None:
        """The run of the server; None if it does not say. Raises REDIS_ERRORS."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.info("server")
            for shard in shards:
                pipe.get(epoch_key(shard))
            server, *found = await pipe.execute(raise_on_error=False)
        if isinstance(server, Exception):
            return None
        run: str = server["run_id"]
        # An edge without permission for GET still appends; a cluster may move a shard.
        epochs = {
            shard: each and int(each)
            for shard, each in zip(shards, found, strict=True)
            if not isinstance(each, Exception)
        }
        if shards and not epochs:
            return None
        await self._comparisons.compare(self._redis, run, epochs)
        return run
