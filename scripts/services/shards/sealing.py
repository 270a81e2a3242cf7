"""Streams that take no more entries, while what they have is still read.

The last id of a sealed stream is the highest there is. Redis then refuses every append, whoever
sends it and whatever its sender believes.
"""

from collections.abc import Collection, Sequence
from contextlib import nullcontext
from typing import Final

from redis.asyncio import Redis

from ingest.contracts.stream import (
    GROUP,
    SEALED_ID,
    EntryId,
    alone_key,
    cut_key,
    epoch_key,
    events_key,
    probe_key,
    sealed_key,
)
from scripts.services.observe.streams import read_shard
from workers.redis_io.stream_state import StreamState
from workers.redis_io.streams import StreamServer, StreamsRedis, servers_of

_LAST: Final = """
local function last(key)
    local stream = redis.call('XINFO', 'STREAM', key)
    for at = 1, #stream, 2 do
        if stream[at] == 'last-generated-id' then return stream[at + 1] end
    end
end
"""

# An append would make a stream that is not there, so it is made; what outlived one is deleted,
# as workers do it.
_SEAL: Final = (
    _LAST
    + """
if redis.call('EXISTS', KEYS[1]) == 0 then
    redis.call('DEL', KEYS[3], KEYS[4], KEYS[5])
    redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[2], '0', 'MKSTREAM')
end
local before = last(KEYS[1])
if before == ARGV[1] then return 0 end
redis.call('SET', KEYS[2], before)
redis.call('XSETID', KEYS[1], ARGV[1])
return 1
"""
)

# Ids go on where they ended; by Redis' clock, if nobody knows where. A group that was moved to
# the end meanwhile would read nothing again.
_OPEN: Final = (
    _LAST
    + """
if redis.call('EXISTS', KEYS[1]) == 0 or last(KEYS[1]) ~= ARGV[1] then return 0 end
local before = redis.call('GET', KEYS[2])
if not before then
    local now = redis.call('TIME')
    before = string.format('%d%03d-0', now[1], math.floor(now[2] / 1000))
end
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local facts = {}
    for at = 1, #group, 2 do facts[group[at]] = group[at + 1] end
    if facts['last-delivered-id'] == ARGV[1] then
        redis.call('XGROUP', 'SETID', KEYS[1], facts['name'], before)
    end
end
redis.call('XSETID', KEYS[1], before)
redis.call('DEL', KEYS[2])
return 1
"""
)

# In pieces, so that Redis serves others meanwhile; what the trimmer deletes is counted likewise.
_CLEAR: Final = (
    _LAST
    + """
if redis.call('EXISTS', KEYS[1]) == 0 or last(KEYS[1]) ~= ARGV[1] then return 0 end
local gone = redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', '0', 'LIMIT', ARGV[2])
if gone == 0 then gone = redis.call('XTRIM', KEYS[1], 'MAXLEN', '0') end
if gone > 0 then redis.call('INCRBY', KEYS[3], gone) end
return gone
"""
)
_AT_ONCE: Final = 10_000
#: After how many seconds a test write expires.
_TEST_SECONDS: Final = 15


async def seal(redis: Redis, shard: int) -> bool:
    """Let a shard's stream take no more entries; whether it took some before."""
    keys = [of(shard) for of in (events_key, sealed_key, epoch_key, cut_key, alone_key)]
    return bool(await redis.register_script(_SEAL)(keys=keys, args=[SEALED_ID, GROUP]))


async def unconfirmed(redis: Redis, shards: Sequence[int], ms: int) -> list[str]:
    """The servers with a connected replica that does not confirm within `ms` that it has the seals.

    A replica gets writes in their order: if it confirms a test write, it has all that was
    written before, too.
    """
    return [
        server.name or "REDIS_URL"
        for server in servers_of(redis, shards)
        if server.shards and not await _is_confirmed(redis, server, ms)
    ]


async def _is_confirmed(redis: Redis, server: StreamServer, ms: int) -> bool:
    named = redis.asking(server) if isinstance(redis, StreamsRedis) else nullcontext()
    async with named:
        info = await server.client.info("replication")
        replicas = int(info["connected_slaves"])
        if not replicas:
            return True
        async with server.client.pipeline(transaction=False) as pipe:
            pipe.set(probe_key(server.shards[0]), "reftide shards", ex=_TEST_SECONDS)
            pipe.execute_command("WAIT", replicas, ms)
            _, confirmed = await pipe.execute()
    return int(confirmed) >= replicas


async def unseal(redis: Redis, shard: int) -> bool:
    """Let a shard's stream take entries again; whether it was sealed."""
    keys = [events_key(shard), sealed_key(shard)]
    return bool(await redis.register_script(_OPEN)(keys=keys, args=[SEALED_ID]))


async def unseal_all(redis: Redis, shards: Sequence[int]) -> None:
    for shard in shards:
        await unseal(redis, shard)


async def clear(redis: Redis, shard: int) -> int:
    """Delete the entries of a sealed stream, which all groups have acknowledged; how many."""
    keys, total = [of(shard) for of in (events_key, sealed_key, cut_key)], 0
    script = redis.register_script(_CLEAR)
    while gone := int(await script(keys=keys, args=[SEALED_ID, _AT_ONCE])):
        total += gone
    return total


def is_sealed(stream: StreamState) -> bool:
    """Whether a stream takes no more entries."""
    return stream.last == EntryId.of(SEALED_ID)


async def unread(redis: Redis, shard: int, groups: Collection[str]) -> int:
    """How many entries of a shard a group has not acknowledged; about, where there are many."""
    stream = await read_shard(redis, shard)
    if not stream.length and not any(each.pending for each in stream.groups.values()):
        return 0
    return max([await _unread(redis, stream, group) for group in groups])


async def _unread(redis: Redis, stream: StreamState, name: str) -> int:
    group = stream.groups.get(name)
    if group is None:
        return stream.length
    if name == GROUP:
        return group.pending + stream.most_undelivered
    if group.delivered >= stream.last:
        return group.pending
    key, least = events_key(stream.shard), f"({group.delivered}"
    return group.pending + len(await redis.xrange(key, min=least, count=1))
