"""Consumer garbage collection: deletes the consumers of dead workers.

Redis keeps a consumer for every name that ever read, and deleting one loses its pending
entries. So one script checks that a consumer has none and deletes it. A worker that comes
back at that moment loses nothing: Redis creates its consumer again with the next read, even
with one that is already blocked.
"""

from collections.abc import Awaitable, Sequence
from typing import Final, cast

from redis.asyncio import Redis

from ingest.contracts.stream import GROUP, WORKERS_KEY, events_key
from ingest.contracts.telemetry import Log
from workers.redis_io.connections import redis_errors
from workers.stream.liveness import with_heartbeat, worker_names

#: Seconds without a read after which a consumer is dead. By then others have claimed its
#: pending entries.
GONE_AFTER: Final = 3600.0

#: Consumers in one script call, so that it does not block Redis.
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


async def collect_consumers(
    redis: Redis, shards: Sequence[int], gone_after: float = GONE_AFTER
) -> None:
    """Delete the consumers of dead workers and their names. Raises TransientError."""
    count = 0
    known: set[str] = set()
    with redis_errors():
        for shard in shards:
            # The archive's group has one consumer, which no worker is named after.
            gone, kept = await _collect(redis, events_key(shard), GROUP, gone_after)
            count += gone
            known |= kept
        # A worker that starts at this moment adds its name again with its next heartbeat.
        names = await _without_heartbeat(redis, await worker_names(redis) - known)
        if names:
            await cast("Awaitable[int]", redis.srem(WORKERS_KEY, *names))
    if count or names:
        Log().info("consumer.removed", count=count, names=len(names))


async def _collect(
    redis: Redis, key: str, group: str, gone_after: float
) -> tuple[int, set[str]]:
    """The number of deleted consumers of a group, and the names of the others."""
    if not await redis.exists(key):
        return 0, set()
    groups = [each["name"] for each in await redis.xinfo_groups(key)]
    if group.encode() not in groups:
        return 0, set()
    consumers = await redis.xinfo_consumers(key, group)
    names = {each["name"].decode() for each in consumers}
    idle = {
        each["name"].decode()
        for each in consumers
        if not each["pending"] and each["idle"] >= gone_after * 1000
    }
    # On some servers, consumers of a quiet stream look idle.
    dead = await _without_heartbeat(redis, idle)
    gone: set[str] = set()
    forget = redis.register_script(_FORGET)
    for at in range(0, len(dead), _AT_ONCE):
        reply = await forget(keys=[key], args=[group, *dead[at : at + _AT_ONCE]])
        gone.update(name.decode() for name in reply)
    return len(gone), names - gone


async def _without_heartbeat(redis: Redis, names: set[str]) -> list[str]:
    return sorted(names - {*await with_heartbeat(redis, names)})
