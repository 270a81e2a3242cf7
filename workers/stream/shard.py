"""One shard of the stream as one consumer reads it: all Redis commands of reading.

They raise `TransientError` if Redis does not answer, and `StreamReset` if the stream is not
the one that was prepared.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from ingest.contracts.metrics.worker import GROUPS_MADE, LOST_UNREAD
from ingest.contracts.placement.streams_url import misplaced
from ingest.contracts.stream import (
    FIELD,
    GROUP,
    PLACE_KEY,
    alone_key,
    cut_key,
    epoch_key,
    events_key,
)
from ingest.contracts.telemetry import Log
from workers.model.batch import Delivery, Entry, TransientError, deliveries_of
from workers.redis_io.connections import BLOCK_MS, StreamReset, redis_errors

#: In a shorter id, no number needs the upper half of 64 bits.
_PLAIN_ID: Final = 19

#: Where a consumer's own pending entries begin, and where XAUTOCLAIM begins.
START: Final = b"0-0"

# At 0, so that entries from before the first worker are read. An epoch that outlived its
# stream is deleted, or the next stream would pass for the same epoch; so is the trimmer's
# count. Returns whether the stream has an epoch, and so once had its group.
_CREATE: Final = """
if redis.call('EXISTS', KEYS[1]) == 0 then
    redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
end
redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
return redis.call('EXISTS', KEYS[2])
"""

#: The number of the epoch of a shard's stream.
EpochOf = Callable[[Redis, int], Awaitable[int]]

# As redis-py spells it.
_Id = int | bytes | str | memoryview
#: An entry's id, and its fields and values alternately; None if it is deleted.
_Message = tuple[bytes, Sequence[bytes] | None]


@dataclass(frozen=True, slots=True)
class ShardPage:
    """The events of some entries, and where to go on; None after the last."""

    deliveries: Sequence[Delivery]
    next: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderConfig:
    """Settings of a consumer, for all its shards.

    `name` is stable: a restarted worker finds its own pending entries under it. An entry is
    abandoned after `reclaim_after` idle seconds; abandoned entries are claimed every
    `reclaim_every` seconds. A read blocks up to `block_ms`, at most BLOCK_MS. A batch has at
    most `batch_size` events. Reads of few entries are `gather_seconds` apart: a transaction of
    ten events costs nearly as much as one of a hundred.
    """

    name: str
    batch_size: int = 500
    gather_seconds: float = 0.05
    reclaim_after: float = 30.0
    reclaim_every: float = 5.0
    block_ms: int = BLOCK_MS


class ShardReader:
    """Reads one shard, over a client of `connections.for_reader` that only it uses."""

    def __init__(
        self,
        redis: Redis,
        number: int,
        config: ReaderConfig,
        epoch_of: EpochOf,
        place: bytes | None = None,
    ) -> None:
        """`epoch_of` is `current_epoch` of the database; see there.

        `place`: which of several servers it is; None: there is one.
        """
        self._redis = redis
        self._place = place
        self._create = redis.register_script(_CREATE)
        self._epoch_of = epoch_of
        self._config = config
        self._key = events_key(number)
        self._epoch = 0
        self._was_prepared = False
        self.number = number
        self.lost = 0
        self._log = Log(shard=number, consumer=config.name)

    async def prepare(self) -> None:
        """Create what is missing: the stream, the group, and the epoch."""
        with redis_errors():
            await self._require_place()
            try:
                beside = [of(self.number) for of in (epoch_key, cut_key, alone_key)]
                keys = [self._key, *beside]
                had_group = bool(await self._create(keys=keys, args=[GROUP]))
            except ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise
            else:
                self._say_created(is_anew=had_group or self._was_prepared)
            self._was_prepared = True
            self._epoch = await self._epoch_of(self._redis, self.number)

    async def _require_place(self) -> None:
        """Raises TransientError where the server is another one to others."""
        if self._place is None:
            return
        found = await self._redis.set(PLACE_KEY, self._place, nx=True, get=True)
        if found not in {None, self._place}:
            problem = misplaced(found, self._place)
            raise TransientError(f"the server of shard {self.number}: {problem}")

    async def own(self, after: bytes) -> ShardPage:
        """The next of this consumer's pending entries."""
        count, name = self._config.batch_size, self._config.name
        with redis_errors():
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.xreadgroup(GROUP, name, {self._key: after}, count)
                pipe.get(epoch_key(self.number))
                answer, epoch = await pipe.execute()
        self._check(epoch)
        messages: list[_Message] = answer[0][1] if answer else []
        if not messages:
            return ShardPage((), None)
        deliveries = await self._counted(await self._present(messages))
        return ShardPage(deliveries, messages[-1][0])

    async def fresh(self) -> Sequence[Delivery]:
        """Entries that no consumer was given; waits up to a second for some."""
        count, name = self._config.batch_size, self._config.name
        with redis_errors():
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.xreadgroup(
                    GROUP, name, {self._key: ">"}, count, self._config.block_ms
                )
                # Asked after the read: an unchanged epoch was also the entries'.
                pipe.get(epoch_key(self.number))
                answer, epoch = await pipe.execute()
        self._check(epoch)
        return await self._present(answer[0][1] if answer else ())

    async def idle(self, cursor: bytes) -> ShardPage:
        """Claim the next abandoned entries of any consumer."""
        count, name = self._config.batch_size, self._config.name
        min_idle = int(self._config.reclaim_after * 1000)
        with redis_errors():
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.xautoclaim(self._key, GROUP, name, min_idle, cursor, count)
                pipe.get(epoch_key(self.number))
                (cursor, messages, deleted), epoch = await pipe.execute()
        self._check(epoch)
        await self._lose(deleted)
        deliveries = await self._counted(await self._present(messages))
        return ShardPage(deliveries, None if cursor == START else cursor)

    async def hold(self, deliveries: Sequence[Delivery]) -> None:
        """Renew the claim on these entries; it does not count as a delivery."""
        with redis_errors():
            await self._redis.xclaim(
                self._key, GROUP, self._config.name, 0, _ids(deliveries), justid=True
            )

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge the entries of these events."""
        with redis_errors():
            if ids := _ids(deliveries):
                await self._redis.xack(self._key, GROUP, *ids)

    async def _present(self, messages: Iterable[_Message]) -> Sequence[Delivery]:
        """The events of the entries that still exist; the others are lost."""
        found: list[Delivery] = []
        lost: list[bytes] = []
        for entry_id, fields in messages:
            if fields:
                found += deliveries_of(self._entry(entry_id), _payload(fields))
            else:
                lost.append(entry_id)
        await self._lose(lost)
        return found

    async def _counted(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """The same, with the number of deliveries of each."""
        if not deliveries:
            return ()
        ids = _ids(deliveries)
        with redis_errors():
            async with self._redis.pipeline(transaction=False) as pipe:
                for entry_id in ids:
                    pipe.xpending_range(self._key, GROUP, entry_id, entry_id, 1)
                found = await pipe.execute()
        times = {
            entry_id: pending[0]["times_delivered"]
            for entry_id, pending in zip(ids, found, strict=True)
            if pending
        }
        return [
            replace(each, times=times.get(each.entry.stream_id, each.times))
            for each in deliveries
        ]

    async def _lose(self, ids: Sequence[bytes]) -> None:
        """Acknowledge entries that were deleted before they were recorded."""
        if not ids:
            return
        self.lost += len(ids)
        LOST_UNREAD.labels(self.number).inc(len(ids))
        self._log.warning(
            "entry.lost", count=len(ids), first=ids[0].decode(), total=self.lost
        )
        with redis_errors():
            await self._redis.xack(self._key, GROUP, *ids)

    def _entry(self, entry_id: bytes) -> Entry:
        ms, _, seq = entry_id.partition(b"-")
        if len(entry_id) < _PLAIN_ID:
            # As Entry() does it, in half the time: a named tuple's is written in Python.
            return tuple.__new__(
                Entry, (self._epoch, self.number, int(ms), int(seq), 0)
            )
        return Entry.of(self._epoch, self.number, int(ms), int(seq))

    def _check(self, epoch: bytes | None) -> None:
        if epoch is None or int(epoch) != self._epoch:
            raise StreamReset

    def _say_created(self, *, is_anew: bool) -> None:
        say = self._log.warning if is_anew else self._log.info
        say("group.created")
        GROUPS_MADE.labels(self.number).inc()


def _payload(fields: Sequence[bytes]) -> bytes:
    """What the entry holds; empty if no edge wrote it."""
    if fields[0] == FIELD:
        return fields[1]
    return dict(zip(fields[::2], fields[1::2], strict=True)).get(FIELD, b"")


def _ids(deliveries: Iterable[Delivery]) -> list[_Id]:
    """The ids of the events' entries, each once."""
    return list(dict.fromkeys(each.entry.stream_id for each in deliveries))
