"""The state of a shard's stream and its groups at one moment.

XINFO's `lag` is not used: it is wrong after some trims and absent after others. A script
counts undelivered entries in the server, so that all figures are of one moment.
"""

from collections.abc import Awaitable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, cast

from redis.asyncio import Redis

from ingest.contracts.stream import (
    GROUP,
    GROUPS_KEY,
    EntryId,
    cut_key,
    epoch_key,
    events_key,
)
from workers.redis_io.connections import redis_errors

#: Up to so many undelivered entries are counted one by one: a thousand take Redis a
#: millisecond, during which it serves nothing else.
COUNT_LIMIT: Final = 1000

ZERO: Final = EntryId(0, 0)

_LOOK: Final = """
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
local function value(reply, name)
    for at = 1, #reply, 2 do
        if reply[at] == name then return reply[at + 1] end
    end
end
local delivered, groups = '0-0', {}
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local name = value(group, 'name')
    local last = value(group, 'last-delivered-id')
    local pending = redis.call('XPENDING', KEYS[1], name)
    if name == ARGV[1] then delivered = last end
    local read = value(group, 'entries-read') or false
    groups[#groups + 1] = {name, last, pending[1], pending[2], read}
end
local waiting = redis.call('XRANGE', KEYS[1], '(' .. delivered, '+', 'COUNT', ARGV[2])
local stream = redis.call('XINFO', 'STREAM', KEYS[1])
local first = value(stream, 'first-entry')
return {
    redis.call('GET', KEYS[2]), redis.call('GET', KEYS[3]), redis.call('TIME'),
    value(stream, 'length'), value(stream, 'entries-added'),
    groups, #waiting, #waiting > 0 and waiting[1][1],
    first and first[1], value(stream, 'last-generated-id'), value(stream, 'max-deleted-entry-id')
}
"""


@dataclass(frozen=True, slots=True)
class GroupState:
    """A group: the last delivered id, and its pending entries.

    `read` counts all delivered entries; None where Redis has lost count.
    """

    delivered: EntryId = ZERO
    pending: int = 0
    oldest_pending: EntryId | None = None
    read: int | None = 0

    @property
    def floor(self) -> EntryId:
        """The lowest id that the group may still read."""
        return self.oldest_pending or self.delivered.next


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamState:
    """One shard's stream. `at_ms` is Redis' clock, in Unix milliseconds.

    `epoch` is None before a worker has numbered it. `added` counts all entries appended in the
    epoch, `cut` those that the trimmer deleted. `undelivered` counts the entries that the group
    was not given, up to COUNT_LIMIT.
    """

    shard: int
    epoch: int | None = None
    at_ms: int = field(default=0, compare=False)
    length: int = 0
    added: int = 0
    cut: int = 0
    groups: Mapping[str, GroupState] = field(default_factory=dict)
    undelivered: int = 0
    oldest_undelivered: EntryId | None = None
    #: The first entry that is retained, the last that was added, the highest deleted one.
    first: EntryId | None = None
    last: EntryId = ZERO
    deleted: EntryId = ZERO

    @property
    def recorder(self) -> GroupState:
        """The workers' group; one that has read nothing, if it is missing."""
        return self.groups.get(GROUP, GroupState())

    @property
    def removed_by_others(self) -> int:
        """Entries that were deleted by others than the trimmer, read or unread."""
        return max(0, self.added - self.length - self.cut)

    @property
    def most_undelivered(self) -> int:
        """An upper bound of the undelivered entries."""
        return self.undelivered if self.undelivered < COUNT_LIMIT else self.length


class Lag(NamedTuple):
    """The group's lag: entries, and the age of the oldest in seconds.

    `undelivered` is the stream's length if there are more than COUNT_LIMIT.
    """

    undelivered: int
    pending: int
    seconds: float
    pending_seconds: float


async def read_stream(
    redis: Redis, shard: int, *, is_counted: bool = True
) -> StreamState | None:
    """The stream's state; None if there is no stream. Raises TransientError.

    Without `is_counted`, `undelivered` is 1 if there are any: that costs Redis less.
    """
    with redis_errors():
        reply = await redis.register_script(_LOOK)(
            keys=[events_key(shard), epoch_key(shard), cut_key(shard)],
            args=[GROUP, COUNT_LIMIT if is_counted else 1],
        )
    return None if reply is None else _stream(shard, reply)


async def registered_groups(redis: Redis) -> AbstractSet[str]:
    """The groups that must have acknowledged an entry before it is deleted.

    Raises what Redis raises.
    """
    members = await cast("Awaitable[set[bytes]]", redis.smembers(GROUPS_KEY))
    return {GROUP, *(name.decode() for name in members)}


def lag_of(stream: StreamState) -> Lag:
    """The group's lag in a shard; all zero if it has read everything."""
    group = stream.recorder
    oldest_pending = group.oldest_pending
    known = (oldest_pending, stream.oldest_undelivered)
    oldest = min((entry for entry in known if entry is not None), default=None)
    return Lag(
        undelivered=stream.most_undelivered,
        pending=group.pending,
        seconds=_age(stream, oldest),
        pending_seconds=_age(stream, oldest_pending),
    )


def _age(stream: StreamState, entry: EntryId | None) -> float:
    return 0.0 if entry is None else max(0, stream.at_ms - entry.ms) / 1000


def _stream(shard: int, reply: Sequence[Any]) -> StreamState:
    epoch, cut, (seconds, micros), length, added, groups, undelivered, *ids = reply
    oldest, first, last, deleted = (EntryId.of(each) if each else None for each in ids)
    return StreamState(
        shard=shard,
        epoch=None if epoch is None else int(epoch),
        at_ms=int(seconds) * 1000 + int(micros) // 1000,
        length=length,
        added=added,
        cut=int(cut or 0),
        groups={name.decode(): _group(*facts) for name, *facts in groups},
        undelivered=undelivered,
        oldest_undelivered=oldest,
        first=first,
        last=last or ZERO,
        deleted=deleted or ZERO,
    )


def _group(
    delivered: bytes, pending: int, oldest: bytes | None, read: int | None
) -> GroupState:
    first = EntryId.of(oldest) if oldest else None
    return GroupState(EntryId.of(delivered), pending, first, read)
