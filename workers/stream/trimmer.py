"""Trims the streams.

An entry is trimmed when every group has acknowledged it and it is older than the window kept
for replays, or earlier if memory runs short. No unread entry is trimmed: there is no MAXLEN,
and nothing is trimmed while a registered group is missing.
"""

import asyncio
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from redis.asyncio import Redis

from ingest.contracts.stream import (
    EntryId,
    cut_key,
    epoch_key,
    events_key,
)
from ingest.contracts.telemetry import Log
from workers.model.batch import TransientError
from workers.redis_io.connections import redis_errors
from workers.redis_io.stream_state import StreamState, read_stream, registered_groups
from workers.redis_io.streams import StreamServer, servers_of

#: Above this part of `maxmemory` the window is trimmed too, oldest first. Edges spool above
#: 0.8 until it is below 0.7; this is to prevent that.
MEMORY_LIMIT: Final = 0.65

#: Between two cuts, so that a long trim does not block Redis.
_PAUSE_SECONDS: Final = 0.002

# Approximate: whole nodes are trimmed, at most a hundred at a time (Redis' default LIMIT),
# which takes half a millisecond. The script checks the epoch: ids of another one mean nothing.
_CUT: Final = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
local gone = redis.call('XTRIM', KEYS[1], 'MINID', '~', ARGV[2])
if gone > 0 then redis.call('INCRBY', KEYS[3], gone) end
return gone
"""


class Trimmer:
    """Trims some shards of one installation."""

    def __init__(self, redis: Redis, shards: Sequence[int], keep_hours: int) -> None:
        """Entries stay for `keep_hours` after all groups have acknowledged them."""
        self._redis = redis
        self._shards = shards
        self._keep_ms = keep_hours * 3_600_000
        self._cut_script = redis.register_script(_CUT)
        self._log = Log()

    async def trim(self) -> int:
        """Trim; the number of trimmed entries. Raises TransientError.

        Of several servers, those that answer are trimmed first.
        """
        gone = 0
        away: TransientError | None = None
        with redis_errors():
            # Asked first: a group that joins later begins where the stream begins.
            groups = await registered_groups(self._redis)
        for server in servers_of(self._redis, self._shards):
            try:
                with redis_errors():
                    gone += await self._trim(server, groups)
            except TransientError as error:
                away = error
        if gone:
            self._log.info("stream.trimmed", count=gone)
        if away:
            raise away
        return gone

    async def _trim(self, server: StreamServer, groups: AbstractSet[str]) -> int:
        gone = 0
        found = [
            await read_stream(self._redis, shard, is_counted=False)
            for shard in server.shards
        ]
        streams = [each for each in found if each and self._may_cut(each, groups)]
        for stream in streams:
            kept_from = EntryId(stream.at_ms - self._keep_ms, 0)
            bound = min(lowest_needed(stream), kept_from)
            while count := await self._cut(stream, bound):
                gone += count
        return gone + await self._relieve(server.client, streams)

    async def _relieve(self, server: Redis, streams: Sequence[StreamState]) -> int:
        """Trim the window as far as memory requires."""
        gone = 0
        while await _is_full(server):
            counts = [await self._cut(each, lowest_needed(each)) for each in streams]
            if not any(counts):
                kept = sum(each.length for each in streams) - gone
                self._log.warning("stream.crowded", kept=kept, trimmed=gone)
                break
            gone += sum(counts)
        return gone

    def _may_cut(self, stream: StreamState, groups: AbstractSet[str]) -> bool:
        missing = sorted(groups - stream.groups.keys())
        if missing:
            self._log.warning("trim.refused", shard=stream.shard, missing=missing)
        return not missing

    async def _cut(self, stream: StreamState, bound: EntryId) -> int:
        await asyncio.sleep(_PAUSE_SECONDS)
        keys = [key(stream.shard) for key in (events_key, epoch_key, cut_key)]
        epoch = "" if stream.epoch is None else stream.epoch
        count: int = await self._cut_script(keys=keys, args=[epoch, str(bound)])
        return count


async def _is_full(server: Redis) -> bool:
    memory = await server.info("memory")
    limit = int(memory["maxmemory"])
    return bool(limit) and int(memory["used_memory"]) > limit * MEMORY_LIMIT


def lowest_needed(stream: StreamState) -> EntryId:
    """The lowest id that a group has not acknowledged."""
    return min(group.floor for group in stream.groups.values())
