"""Which workers live. Imported by `sampling`, `selfcheck` and the commands."""

from collections.abc import Awaitable, Sequence
from typing import cast

from redis.asyncio import Redis

from ingest.contracts.stream import WORKERS_KEY, heartbeat_key


async def living(redis: Redis) -> Sequence[str]:
    """The names of those whose heartbeat is there; raises what Redis raises."""
    # redis-py types the reply for its synchronous client too.
    members = cast("Awaitable[set[bytes]]", redis.smembers(WORKERS_KEY))
    names = sorted(name.decode() for name in await members)
    async with redis.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.exists(heartbeat_key(name))
        beats = await pipe.execute()
    return [name for name, beat in zip(names, beats, strict=True) if beat]
