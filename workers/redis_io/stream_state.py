"""A shard's stream at one moment, with everybody who reads it.

XINFO's `lag` is not used: it is wrong after a trim and absent after others. What waits is
counted in the stream itself, by the server, so that all figures are of one moment.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from redis.asyncio import Redis

from ingest.contracts.stream import GROUP, EntryId, cut_key, epoch_key, events_key
from workers.model.batch import TransientError
from workers.redis_io.connections import REDIS_TROUBLE

#: Above so many, what a group was not given is not counted one by one: it takes Redis a
#: millisecond per thousand, and nothing else is served meanwhile.
COUNTED: Final = 1000

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
    groups[#groups + 1] = {name, last, pending[1], pending[2]}
end
local waiting = redis.call('XRANGE', KEYS[1], '(' .. delivered, '+', 'COUNT', ARGV[2])
local stream = redis.call('XINFO', 'STREAM', KEYS[1])
return {
    redis.call('GET', KEYS[2]), redis.call('GET', KEYS[3]), redis.call('TIME'),
    value(stream, 'length'), value(stream, 'entries-added'),
    groups, #waiting, #waiting > 0 and waiting[1][1]
}
"""


@dataclass(frozen=True, slots=True)
class Group:
    """What a group was given last, and what of it is not acknowledged."""

    delivered: EntryId
    pending: int
    oldest_pending: EntryId | None

    @property
    def floor(self) -> EntryId:
        """The lowest id that it may still ask for."""
        return self.oldest_pending or self.delivered.next


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One shard's stream. `at_ms` is Redis' clock, in Unix milliseconds.

    `epoch` is None before a worker has numbered this life. `added` counts what was ever
    appended in it, and `cut` what our trimmer took out. `undelivered` is what the recorder
    was not given, counted up to COUNTED.
    """

    shard: int
    epoch: int | None
    at_ms: int
    length: int
    added: int
    cut: int
    groups: Mapping[str, Group]
    undelivered: int
    oldest_undelivered: EntryId | None

    @property
    def removed_by_others(self) -> int:
        """How many entries somebody else trimmed or deleted, read or unread."""
        return max(0, self.added - self.length - self.cut)

    @property
    def most_undelivered(self) -> int:
        """What the recorder was not given; never too few."""
        return self.undelivered if self.undelivered < COUNTED else self.length


class Lag(NamedTuple):
    """How far the recorder is behind: entries, and the seconds that the oldest waits.

    `undelivered` is the stream's length where there are more than COUNTED.
    """

    undelivered: int
    pending: int
    seconds: float
    pending_seconds: float


async def look(redis: Redis, shard: int) -> Stream | None:
    """The stream as it is now; None where there is none. Raises TransientError."""
    try:
        reply = await redis.register_script(_LOOK)(
            keys=[events_key(shard), epoch_key(shard), cut_key(shard)],
            args=[GROUP, COUNTED],
        )
    except REDIS_TROUBLE as error:
        raise TransientError(f"{type(error).__name__}: {error}") from error
    return None if reply is None else _stream(shard, reply)


def lag_of(stream: Stream) -> Lag:
    """How far the recorder is behind in a shard; all zero where it has read everything."""
    group = stream.groups.get(GROUP)
    oldest_pending = group.oldest_pending if group else None
    known = (oldest_pending, stream.oldest_undelivered)
    oldest = min((entry for entry in known if entry is not None), default=None)
    return Lag(
        undelivered=stream.most_undelivered,
        pending=group.pending if group else 0,
        seconds=_age(stream, oldest),
        pending_seconds=_age(stream, oldest_pending),
    )


def _age(stream: Stream, entry: EntryId | None) -> float:
    return 0.0 if entry is None else max(0, stream.at_ms - entry.ms) / 1000


def _stream(shard: int, reply: Sequence[Any]) -> Stream:
    epoch, cut, (seconds, micros), length, added, groups, undelivered, oldest = reply
    return Stream(
        shard=shard,
        epoch=None if epoch is None else int(epoch),
        at_ms=int(seconds) * 1000 + int(micros) // 1000,
        length=length,
        added=added,
        cut=int(cut or 0),
        groups={name.decode(): _group(*facts) for name, *facts in groups},
        undelivered=undelivered,
        oldest_undelivered=EntryId.of(oldest) if oldest else None,
    )


def _group(delivered: bytes, pending: int, oldest: bytes | None) -> Group:
    return Group(EntryId.of(delivered), pending, EntryId.of(oldest) if oldest else None)
