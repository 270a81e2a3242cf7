"""One shard of the stream as archivers see it.

All Redis commands of archiving are here. Everybody who archives a shard reads as one and the
same consumer, one at a time: whoever holds the shard's lease. So what the last one left
unacknowledged is the next one's own. The lease saves work, nothing more: of two that read
at once each acknowledges what it has on the disk.
"""

from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, cast

from redis.asyncio import Redis
from redis.exceptions import ResponseError

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
from workers.model.batch import Delivery, Entry, TransientError
from workers.redis_io.connections import REDIS_TROUBLE

#: For how long a shard stays an archiver's that says nothing, in seconds.
_LEASE_SECONDS: Final = 30

#: So many in one command, so that Redis does not stop for it.
_ACK_BATCH: Final = 1000

# The workers that record make streams and number them; this only joins. At 0, so that what
# was there before is archived too. Answers the number of this life, if there is one.
_JOIN: Final = """
local epoch = redis.call('GET', KEYS[2])
if not epoch or redis.call('EXISTS', KEYS[1]) == 0 then return false end
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    if group[2] == ARGV[1] then return epoch end
end
redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0')
return epoch
"""

# In another life of the stream the same ids are other entries.
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

#: Where what was left pending begins, and how what nobody was given is asked for.
PENDING: Final = b"0-0"
FRESH: Final = b">"


class ArchiveStreamReset(Exception):
    """The group or the stream went away: join again."""


class ArchiveReader:
    """The archive's reading end of one shard, for one worker. All calls raise TransientError."""

    def __init__(self, redis: Redis, shard: int, owner: str) -> None:
        """`owner` is the worker's name, which no other process has."""
        self._redis = redis
        self._shard = shard
        self._owner = owner
        self._keys = [events_key(shard), epoch_key(shard)]
        self._lease_key = archiver_key(shard)
        self._log = Log(shard=shard)

    async def has_lease(self) -> bool:
        """Whether the shard is ours to archive, and for some more time."""
        with _redis_errors():
            script = self._redis.register_script(_LEASE)
            args = [self._owner, str(_LEASE_SECONDS)]
            return bool(await script(keys=[self._lease_key], args=args))

    async def release(self) -> None:
        """Let the next one begin at once."""
        with _redis_errors():
            script = self._redis.register_script(_RELEASE)
            await script(keys=[self._lease_key], args=[self._owner])

    async def join(self) -> int | None:
        """Make sure that the group is there; the number of the stream's life.

        None where no worker has made the stream yet.
        """
        with _redis_errors():
            # First: where a registered group is missing, nothing is trimmed.
            await cast("Awaitable[int]", self._redis.sadd(GROUPS_KEY, ARCHIVE_GROUP))
            script = self._redis.register_script(_JOIN)
            epoch = await script(keys=self._keys, args=[ARCHIVE_GROUP])
        return None if epoch is None else int(epoch)

    async def read(
        self, epoch: int, start: bytes, count: int
    ) -> tuple[Sequence[Delivery], bytes | None]:
        """The next entries, and the id of the last; None where there were none.

        `start` is FRESH, or an id after which to go on among what is pending. Raises ArchiveStreamReset
        where the stream is not that of `epoch`.
        """
        with _redis_errors():
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.xreadgroup(ARCHIVE_GROUP, ARCHIVER, {self._keys[0]: start}, count)
                # Asked after the read: if the number is still ours, so was the entries'.
                pipe.get(self._keys[1])
                answer, now = await pipe.execute()
        if now is None or int(now) != epoch:
            raise ArchiveStreamReset
        messages: list[_Message] = answer[0][1] if answer else []
        if not messages:
            return (), None
        return await self._existing(epoch, messages), messages[-1][0]

    async def ack(self, epoch: int, ids: Sequence[str]) -> None:
        """Say that these are archived, unless the stream has begun another life."""
        with _redis_errors():
            script = self._redis.register_script(_ACK)
            for at in range(0, len(ids), _ACK_BATCH):
                some = ids[at : at + _ACK_BATCH]
                args = [str(epoch), ARCHIVE_GROUP, *some]
                await script(keys=self._keys, args=args)

    async def _existing(
        self, epoch: int, messages: Sequence[_Message]
    ) -> Sequence[Delivery]:
        """The entries that still exist; somebody took out the others unarchived."""
        found: list[Delivery] = []
        gone: list[str] = []
        for entry_id, fields in messages:
            if fields:
                ms, seq = entry_id.split(b"-")
                entry = Entry.of(epoch, self._shard, int(ms), int(seq))
                found.append(Delivery(entry, fields.get(FIELD, b"")))
            else:
                gone.append(entry_id.decode())
        if gone:
            self._log.warning("archive.missed", count=len(gone), first=gone[0])
            await self.ack(epoch, gone)
        return found


async def drop_group(redis: Redis, shards: Sequence[int]) -> int:
    """Stop keeping anything for an archive; how many groups went.

    What was not archived is no longer held back from the trimmer. A worker that archives
    makes its group again at once. Raises TransientError.
    """
    with _redis_errors():
        await cast("Awaitable[int]", redis.srem(GROUPS_KEY, ARCHIVE_GROUP))
        gone = 0
        for shard in shards:
            if await redis.exists(events_key(shard)):
                gone += await redis.xgroup_destroy(events_key(shard), ARCHIVE_GROUP)
    return gone


async def holders(redis: Redis, shards: Sequence[int]) -> set[str]:
    """The workers that archive. Raises TransientError."""
    with _redis_errors():
        found = [await redis.get(archiver_key(shard)) for shard in shards]
    return {name.decode() for name in found if name is not None}


@contextmanager
def _redis_errors() -> Iterator[None]:
    try:
        yield
    except REDIS_TROUBLE as error:
        if isinstance(error, ResponseError) and "NOGROUP" in str(error):
            raise ArchiveStreamReset from error
        raise TransientError(f"{type(error).__name__}: {error}") from error
