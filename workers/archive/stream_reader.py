"""Reads one shard of the stream for the archive: all Redis commands of archiving.

All archivers of a shard share one consumer name, and a lease lets one of them read at a time.
So the next archiver finds its predecessor's unacknowledged entries as its own. Correctness
does not depend on the lease: of two that read at once, each acknowledges only what it has on
disk.
"""

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final, cast

from redis.asyncio import Redis

from ingest.contracts.stream import (
    ARCHIVE_GROUP,
    ARCHIVER,
    FIELD,
    GROUPS_KEY,
    archiver_key,
    epoch_key,
    events_key,
)
from ingest.contracts.telemetry import Log
from workers.model.batch import Delivery, Entry, deliveries_of
from workers.redis_io.connections import StreamReset, redis_errors
from workers.redis_io.streams import StreamsRedis

#: After so many seconds without renewal, another archiver may take the shard.
_LEASE_SECONDS: Final = 30

#: Ids in one XACK, so that it does not block Redis.
_ACK_BATCH: Final = 1000

# Recording workers create streams and number their epochs; this only joins, at 0, so that
# earlier entries are archived too. Returns the epoch, if there is a stream.
_JOIN: Final = """
local epoch = redis.call('GET', KEYS[2])
if not epoch or redis.call('EXISTS', KEYS[1]) == 0 then return false end
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    if group[2] == ARGV[1] then return epoch end
end
redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0')
return epoch
"""

# In another epoch of the stream the same ids are other entries.
_ACK: Final = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
return redis.call('XACK', KEYS[1], ARGV[2], unpack(ARGV, 3))
"""

_LEASE: Final = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
"""

_RELEASE: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""

_Message = tuple[bytes, Mapping[bytes, bytes] | None]

#: Read from the first pending entry; read entries that no consumer was given.
PENDING: Final = b"0-0"
FRESH: Final = b">"


class ArchiveReader:
    """Reads one shard for one worker's archiver. All calls raise TransientError."""

    def __init__(self, redis: Redis, shard: int, owner: str) -> None:
        """`owner` is the worker's name, unique among processes."""
        self._redis = redis
        self._shard = shard
        self._owner = owner
        self._keys = [events_key(shard), epoch_key(shard)]
        self._lease_key = archiver_key(shard)
        self._log = Log(shard=shard)

    async def has_lease(self) -> bool:
        """Take or renew the shard's lease; whether this worker holds it."""
        arguments = self._owner, _LEASE_SECONDS
        has_it = bool(await self._run(_LEASE, [self._lease_key], *arguments))
        if has_it and isinstance(self._redis, StreamsRedis):
            # The set of groups may be lost while the stream is not.
            await self._register()
        return has_it

    async def release(self) -> None:
        """Give up the lease, so that another worker can take it at once."""
        await self._run(_RELEASE, [self._lease_key], self._owner)

    async def join(self) -> int | None:
        """Create the group if it is missing; the stream's epoch.

        None if no worker has created the stream yet.
        """
        # Register first: nothing is trimmed while a registered group is missing.
        await self._register()
        epoch = await self._run(_JOIN, self._keys, ARCHIVE_GROUP)
        return None if epoch is None else int(epoch)

    async def _register(self) -> None:
        with redis_errors():
            await cast("Awaitable[int]", self._redis.sadd(GROUPS_KEY, ARCHIVE_GROUP))

    async def read(
        self, epoch: int, start: bytes, count: int
    ) -> tuple[Sequence[Delivery], bytes | None]:
        """The next entries, and the id of the last; None if there were none.

        `start` is FRESH, or the id of a pending entry to continue after. Raises
        StreamReset if the stream is not of `epoch` any more.
        """
        with redis_errors():
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.xreadgroup(ARCHIVE_GROUP, ARCHIVER, {self._keys[0]: start}, count)
                # Asked after the read: an unchanged epoch was also the entries'.
                pipe.get(self._keys[1])
                answer, now = await pipe.execute()
        if now is None or int(now) != epoch:
            raise StreamReset
        messages: list[_Message] = answer[0][1] if answer else []
        if not messages:
            return (), None
        return await self._existing(epoch, messages), messages[-1][0]

    async def ack(self, epoch: int, ids: Sequence[str]) -> None:
        """Acknowledge archived entries, unless the stream has another epoch by now."""
        for at in range(0, len(ids), _ACK_BATCH):
            some = ids[at : at + _ACK_BATCH]
            await self._run(_ACK, self._keys, epoch, ARCHIVE_GROUP, *some)

    async def _run(
        self, script: str, keys: Sequence[str], *arguments: str | int
    ) -> Any:
        with redis_errors():
            return await self._redis.register_script(script)(keys, arguments)

    async def _existing(
        self, epoch: int, messages: Sequence[_Message]
    ) -> Sequence[Delivery]:
        """The entries that still exist; the others were deleted before they were archived."""
        found: list[Delivery] = []
        gone: list[str] = []
        for entry_id, fields in messages:
            if fields:
                ms, seq = entry_id.split(b"-")
                entry = Entry.of(epoch, self._shard, int(ms), int(seq))
                found += deliveries_of(entry, fields.get(FIELD, b""))
            else:
                gone.append(entry_id.decode())
        if gone:
            self._log.warning("archive.missed", count=len(gone), first=gone[0])
            await self.ack(epoch, gone)
        return found


async def drop_group(redis: Redis, shards: Sequence[int]) -> int:
    """Delete the archive's groups; how many there were.

    The trimmer no longer waits for the archive. A worker that archives creates its group
    again at once. Raises TransientError.
    """
    with redis_errors():
        await cast("Awaitable[int]", redis.srem(GROUPS_KEY, ARCHIVE_GROUP))
        gone = 0
        for shard in shards:
            if await redis.exists(events_key(shard)):
                gone += await redis.xgroup_destroy(events_key(shard), ARCHIVE_GROUP)
    return gone


async def holders(redis: Redis, shards: Sequence[int]) -> set[str]:
    """The workers that hold archiving leases. Raises TransientError."""
    with redis_errors():
        found = [await redis.get(archiver_key(shard)) for shard in shards]
    return {name.decode() for name in found if name is not None}
