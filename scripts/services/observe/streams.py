"""The streams of the shards, as Redis has them.

What XINFO calls `lag` is not used: it is wrong after a trim, and absent after others. What
waits is counted from the stream itself.
"""

from collections.abc import AsyncIterator, Sequence
from math import inf
from typing import Any, Final, NamedTuple

from redis.asyncio import Redis

from ingest.contracts.stream import ARCHIVE_GROUP, GROUP, EntryId, events_key
from scripts.servers import RedisAway, StreamsAway
from scripts.services.observe.stream_servers import memory_of
from workers.model.batch import TransientError
from workers.redis_io.stream_state import StreamState, read_stream
from workers.redis_io.streams import StreamServerAway, servers_of

_PAGE: Final = 5_000
#: Above so many, what waits is not counted one by one.
COUNTED: Final = 50_000

Fields = dict[bytes, bytes]


class PendingEntries(NamedTuple):
    """What a shard's group was not given yet; an estimate where `exact` is false."""

    entries: int
    oldest: EntryId | None
    exact: bool


async def read_shard(redis: Redis, shard: int) -> StreamState:
    """A missing stream or group is an empty one. Raises Unreachable."""
    return await find_shard(redis, shard) or StreamState(shard=shard)


async def find_shard(redis: Redis, shard: int) -> StreamState | None:
    """None where there is no stream. Raises Unreachable."""
    try:
        return await read_stream(redis, shard)
    except TransientError as error:
        if isinstance(error.__cause__, StreamServerAway):
            raise StreamsAway(error.__cause__) from error
        raise RedisAway(f"Redis does not answer: {error}", "try again.") from error


async def waiting(redis: Redis, state: StreamState) -> PendingEntries:
    """Count what this reading of the shard had not delivered.

    Entries come in behind it and are trimmed before it, so that the count is that of the
    moment of the reading, however long it takes.
    """
    delivered, found, oldest = state.recorder.delivered, 0, None
    async for entry, _ in entries(redis, state.shard, after=delivered, to=state.last):
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


async def backlog(redis: Redis, shards: Sequence[int]) -> dict[str, Any] | None:
    """How far the archive is behind; None where nothing is archived.

    `lag_seconds` is how long the oldest entry has waited for its segment to be finished.
    """
    looked = [await read_shard(redis, shard) for shard in shards]
    archived = [stream for stream in looked if ARCHIVE_GROUP in stream.groups]
    if not archived:
        return None
    count, lag = 0, 0.0
    for stream in archived:
        group = stream.groups[ARCHIVE_GROUP]
        waits = [group.oldest_pending] if group.oldest_pending else []
        async for entry, _ in entries(
            redis, stream.shard, after=group.delivered, to=stream.last
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
    shards: Sequence[StreamState],
    accepted_per_second: float | None,
    *,
    events_per_entry: float,
) -> dict[str, Any]:
    """What Redis' memory holds, and for how many hours it lasts at this rate of events.

    Of several servers, that of the one that has the least left. No shard is of one that is
    away, so those here share what comes in.
    """
    streams = [await redis.memory_usage(events_key(one.shard)) for one in shards]
    length = sum(shard.length for shard in shards) * events_per_entry
    each = round(sum(size or 0 for size in streams) / length, 1) if length else None
    servers = servers_of(redis, [one.shard for one in shards])
    sizes = [(await memory_of(redis, server), len(server.shards)) for server in servers]
    if not sizes:
        return {}
    (used, limit), share = max(
        sizes, key=lambda size: (size[0][0] / (size[0][1] or inf), size[0][0])
    )
    rate = accepted_per_second and accepted_per_second * share / len(shards)
    return {
        "redis_memory_bytes": used,
        "redis_memory_limit_bytes": limit,
        "bytes_per_event": each,
        "hours_left": hours_left(used, limit, each, rate),
    }


def hours_left(
    used: int | None, limit: int | None, each: float | None, per_second: float | None
) -> float | None:
    """For how many hours memory lasts at a rate of events of so many bytes each."""
    if used is None or not (limit and each and per_second):
        return None
    return round(max(0, limit - used) / each / per_second / 3600, 2)


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


def _by_counters(state: StreamState) -> int:
    if state.recorder.read is None:
        return state.length
    return min(state.added - state.recorder.read, state.length)
