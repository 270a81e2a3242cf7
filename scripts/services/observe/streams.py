"""The streams of the shards, as Redis has them.

What XINFO calls `lag` is not used: it is wrong after a trim, and absent after others. What
waits is counted from the stream itself.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from ingest.contracts.stream import (
    ARCHIVE_GROUP,
    GROUP,
    EntryId,
    epoch_key,
    events_key,
)
from workers.redis_io.stream_state import read_stream

_PAGE: Final = 5_000
#: Above so many, what waits is not counted one by one.
COUNTED: Final = 50_000

Fields = dict[bytes, bytes]


ZERO: Final = EntryId(0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardState:
    """One shard at one moment, read in one transaction.

    `added` counts the entries of this life of the stream, `delivered` is the last one that
    the group was given; `pending` were given and are not acknowledged.
    """

    shard: int
    epoch: int | None
    length: int
    added: int
    last: EntryId
    delivered: EntryId
    has_group: bool
    entries_read: int | None
    pending: int
    oldest_pending: EntryId | None


class PendingEntries(NamedTuple):
    """What a shard's group was not given yet; an estimate where `exact` is false."""

    entries: int
    oldest: EntryId | None
    exact: bool


async def read_shard(redis: Redis, shard: int) -> ShardState:
    """A missing stream or group is an empty one."""
    key = events_key(shard)
    async with redis.pipeline(transaction=True) as pipe:
        pipe.get(epoch_key(shard))
        pipe.xinfo_stream(key)
        pipe.xinfo_groups(key)
        pipe.xpending(key, GROUP)
        replies = await pipe.execute(raise_on_error=False)
    epoch, stream, groups, pending = (_unless_missing(reply) for reply in replies)
    group = _our_group(groups or [])
    oldest = (pending or {}).get("min")
    return ShardState(
        shard=shard,
        epoch=None if epoch is None else int(epoch),
        length=stream["length"] if stream else 0,
        added=stream["entries-added"] if stream else 0,
        last=EntryId.of(stream["last-generated-id"]) if stream else ZERO,
        delivered=EntryId.of(group["last-delivered-id"]) if group else ZERO,
        has_group=group is not None,
        entries_read=group["entries-read"] if group else 0,
        pending=pending["pending"] if pending else 0,
        oldest_pending=EntryId.of(oldest) if oldest else None,
    )


async def waiting(redis: Redis, state: ShardState) -> PendingEntries:
    """Count what this reading of the shard had not delivered.

    Entries come in behind it and are trimmed before it, so that the count is that of the
    moment of the reading, however long it takes.
    """
    if state.delivered >= state.last:
        return PendingEntries(0, None, exact=True)
    found, oldest = 0, None
    async for entry, _ in entries(
        redis, state.shard, after=state.delivered, to=state.last
    ):
        oldest = oldest or entry
        found += 1
        if found >= COUNTED:
            return PendingEntries(max(found, _by_counters(state)), oldest, exact=False)
    return PendingEntries(found, oldest, exact=True)


async def entries(
    redis: Redis, shard: int, *, after: EntryId, to: EntryId
) -> AsyncIterator[tuple[EntryId, Fields]]:
    """The entries behind `after`, up to `to`, a page at a time."""
    while after < to:
        page = await redis.xrange(
            events_key(shard), min=f"({after}", max=str(to), count=_PAGE
        )
        for raw, fields in page:
            after = EntryId.of(raw)
            yield after, fields
        if len(page) < _PAGE:
            return


async def backlog(redis: Redis, shards: int) -> dict[str, Any] | None:
    """How far the archive is behind; None where nothing is archived.

    `lag_seconds` is how long the oldest entry has waited for its segment to be finished.
    """
    looked = [await read_stream(redis, shard) for shard in range(shards)]
    found = [
        (stream, stream.groups[ARCHIVE_GROUP])
        for stream in looked
        if stream is not None and ARCHIVE_GROUP in stream.groups
    ]
    if not found:
        return None
    count, lag = 0, 0.0
    for stream, group in found:
        waits = [group.oldest_pending] if group.oldest_pending else []
        last = EntryId.of(
            (await redis.xinfo_stream(events_key(stream.shard)))["last-generated-id"]
        )
        async for entry, _ in entries(
            redis, stream.shard, after=group.delivered, to=last
        ):
            waits.append(entry)
            if len(waits) >= COUNTED:
                break
        oldest = min(waits, default=None)
        count += group.pending + len(waits) - bool(group.oldest_pending)
        if oldest:
            lag = max(lag, (stream.at_ms - oldest.ms) / 1000)
    return {"lag_seconds": round(max(0.0, lag), 3), "entries": count}


async def memory(
    redis: Redis,
    shards: Sequence[ShardState],
    accepted_per_second: float | None,
    *,
    events_per_entry: float,
) -> dict[str, Any]:
    """What Redis' memory holds, and for how many hours it lasts at this rate of events."""
    told = await redis.info("memory")
    used, limit = int(told["used_memory"]), int(told["maxmemory"])
    streams = [await redis.memory_usage(events_key(one.shard)) for one in shards]
    length = sum(shard.length for shard in shards) * events_per_entry
    each = round(sum(size or 0 for size in streams) / length, 1) if length else None
    hours = None
    if limit and each and accepted_per_second:
        hours = round(max(0, limit - used) / each / accepted_per_second / 3600, 2)
    return {
        "redis_memory_bytes": used,
        "redis_memory_limit_bytes": limit or None,
        "bytes_per_event": each,
        "hours_left": hours,
    }


async def pending_ids(redis: Redis, shard: int) -> set[EntryId]:
    """The entries that were delivered and are not acknowledged."""
    found: set[EntryId] = set()
    least = "-"
    while True:
        page = await redis.xpending_range(
            events_key(shard), GROUP, min=least, max="+", count=_PAGE
        )
        found.update(EntryId.of(item["message_id"]) for item in page)
        if len(page) < _PAGE:
            return found
        least = f"({EntryId.of(page[-1]['message_id'])}"


def _by_counters(state: ShardState) -> int:
    if state.entries_read is None:
        return state.length
    return min(state.added - state.entries_read, state.length)


def _our_group(groups: list[dict[str, Any]]) -> dict[str, Any] | None:
    ours = (group for group in groups if group["name"] == GROUP.encode())
    return next(ours, None)


def _unless_missing(reply: Any) -> Any:
    if not isinstance(reply, Exception):
        return reply
    missing = str(reply).startswith("NOGROUP") or "no such key" in str(reply)
    if isinstance(reply, ResponseError) and missing:
        return None
    raise reply
