"""Forgets workers that are gone for good. A job runs it every ten minutes.

Redis keeps a consumer for every name that ever read, and deleting one throws away what is
pending under it. So a name goes only where it has nothing pending, which is looked at and
acted upon in one step that no read can come between. A worker that comes back at that very
moment loses nothing by it: Redis makes its consumer anew with its next read, also with one
that is blocked already.
"""

from collections.abc import Awaitable, Sequence
from typing import Final, cast

from redis.asyncio import Redis

from ingest.contracts.stream import GROUP, WORKERS_KEY, events_key, heartbeat_key
from ingest.contracts.telemetry import Log
from workers.model.batch import TransientError
from workers.redis_io.connections import REDIS_ERRORS

#: For how long a consumer must not have asked for anything, in seconds. By then others have
#: taken over what was pending under it.
GONE_AFTER: Final = 3600.0

#: So many in one step, so that Redis does not stop for it.
_AT_ONCE: Final = 100

_FORGET: Final = """
local gone = {}
for at = 2, #ARGV do
    local pending = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[at])
    if #pending == 0 then
        redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[at])
        gone[#gone + 1] = ARGV[at]
    end
end
return gone
"""


async def reap(
    redis: Redis, shards: Sequence[int], gone_after: float = GONE_AFTER
) -> None:
    """Delete the consumers of dead workers and their names. Raises TransientError."""
    try:
        count = 0
        known: set[str] = set()
        for shard in shards:
            # The archive has one consumer, which is nobody's name.
            gone, kept = await _reap(redis, events_key(shard), GROUP, gone_after)
            count += gone
            known |= kept
        names = await _strangers(redis, known)
        if names:
            await cast("Awaitable[int]", redis.srem(WORKERS_KEY, *names))
    except REDIS_ERRORS as error:
        raise TransientError(f"{type(error).__name__}: {error}") from error
    if count or names:
        Log().info("consumer.removed", count=count, names=len(names))


async def _reap(
    redis: Redis, key: str, group: str, gone_after: float
) -> tuple[int, set[str]]:
    """How many consumers of a group went, and the names of those that stay."""
    if not await redis.exists(key):
        return 0, set()
    groups = [each["name"] for each in await redis.xinfo_groups(key)]
    if group.encode() not in groups:
        return 0, set()
    consumers = await redis.xinfo_consumers(key, group)
    names = {each["name"].decode() for each in consumers}
    idle = [
        each["name"].decode()
        for each in consumers
        if not each["pending"] and each["idle"] >= gone_after * 1000
    ]
    # A quiet stream makes the living look idle on some servers.
    dead = await _without_heartbeat(redis, idle)
    gone: set[str] = set()
    forget = redis.register_script(_FORGET)
    for at in range(0, len(dead), _AT_ONCE):
        reply = await forget(keys=[key], args=[group, *dead[at : at + _AT_ONCE]])
        gone.update(name.decode() for name in reply)
    return len(gone), names - gone


async def _strangers(redis: Redis, known: set[str]) -> list[str]:
    """Names of workers that neither live nor have a consumer.

    One that starts at this moment writes its name again with its next heartbeat.
    """
    members = cast("Awaitable[set[bytes]]", redis.smembers(WORKERS_KEY))
    names = sorted({name.decode() for name in await members} - known)
    return await _without_heartbeat(redis, names)


async def _without_heartbeat(redis: Redis, names: Sequence[str]) -> list[str]:
    async with redis.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.exists(heartbeat_key(name))
        living = await pipe.execute()
    return [name for name, lives in zip(names, living, strict=True) if not lives]
