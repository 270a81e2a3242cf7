"""Asks a stream which entries it no longer has that it once acknowledged."""

from collections.abc import Sequence
from typing import Final

from redis.asyncio import Redis

from ingest.contracts.stream import EntryId, events_key
from ingest.durable.append_counts import Absent

#: Ids of one question: a thousand take Redis a millisecond.
_CHUNK: Final = 1000

# Returns the highest deleted id, the absent ids that follow an entry, and the others. If entries
# were ever taken out, the others may have been trimmed.
_FIND: Final = """
local deleted, followers, firsts = '0-0', {}, {}
local is_whole = true
if redis.call('EXISTS', KEYS[1]) == 1 then
    local stream, facts = redis.call('XINFO', 'STREAM', KEYS[1]), {}
    for at = 1, #stream, 2 do facts[stream[at]] = stream[at + 1] end
    deleted, is_whole = facts['max-deleted-entry-id'], facts['length'] == facts['entries-added']
end
for _, id in ipairs(ARGV) do
    if #redis.call('XRANGE', KEYS[1], id, id) == 0 then
        local before = redis.call('XRANGE', KEYS[1], '-', id, 'COUNT', 1)
        local found = (is_whole or #before > 0) and followers or firsts
        found[#found + 1] = id
    end
end
return {deleted, followers, firsts}
"""


async def absent_entries(redis: Redis, shard: int, ids: Sequence[bytes]) -> Absent:
    """Which of these the shard's stream does not have; raises REDIS_ERRORS.

    Entries that were trimmed or deleted did not vanish.
    """
    find = redis.register_script(_FIND)
    absent: set[bytes] = set()
    vanished: set[bytes] = set()
    for at in range(0, len(ids), _CHUNK):
        deleted, followers, firsts = await find(
            keys=[events_key(shard)], args=[*ids[at : at + _CHUNK]]
        )
        absent.update(followers, firsts)
        bound = EntryId.of(deleted)
        vanished.update(one for one in followers if EntryId.of(one) > bound)
    return Absent(absent, vanished)
