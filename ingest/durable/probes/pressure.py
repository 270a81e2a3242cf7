"""Measures the stream's pressure by cheap commands of Redis.

It reads counters and the ends of streams only; entries deleted by hand make counts too high.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from redis.asyncio import Redis

from ingest.contracts.stream import GROUP, SEALED_ID, events_key
from ingest.durable.degradation import Pressure

_PER_SHARD: Final = 3


class _Shard(NamedTuple):
    """Unread entries of a shard; the oldest arrived at `since`, or follows `behind`."""

    unread: int = 0
    since: bytes | None = None
    behind: bytes | None = None


class Look(NamedTuple):
    """The present pressure of some shards, and which of them are sealed."""

    pressure: Pressure
    sealed: frozenset[int]
    #: Whether `SHARDS_KEY` was asked too, and answered; and what it says.
    knows_agreed: bool = False
    agreed: bytes | None = None


async def look(redis: Redis, shards: Sequence[int]) -> Look:
    """Look at these shards; raises REDIS_ERRORS."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.info("memory")
        pipe.time()
        for shard in shards:
            key = events_key(shard)
            pipe.xinfo_stream(key)
            pipe.xinfo_groups(key)
            pipe.xpending(key, GROUP)
        memory, clock, *replies = await pipe.execute(raise_on_error=False)
    found = [
        _shard(*replies[at : at + _PER_SHARD])
        for at in range(0, len(replies), _PER_SHARD)
    ]
    oldest = min(await _since(redis, shards, found), default=None)
    is_told = not isinstance(clock, Exception)
    observed = Pressure(
        memory=_filled(memory),
        unread=sum(shard.unread for shard in found),
        age=max(0.0, clock[0] - oldest / 1000) if is_told and oldest else 0.0,
    )
    streams = zip(shards, replies[::_PER_SHARD], strict=True)
    return Look(observed, frozenset(one for one, each in streams if _is_sealed(each)))


async def _since(
    redis: Redis, shards: Sequence[int], found: Sequence[_Shard]
) -> list[int]:
    """The arrivals of the shards' oldest unread entries, in Unix milliseconds."""
    async with redis.pipeline(transaction=False) as pipe:
        for number, shard in zip(shards, found, strict=True):
            if shard.behind is not None:
                least = "(" + shard.behind.decode()
                pipe.xrange(events_key(number), min=least, count=1)
        pages = await pipe.execute(raise_on_error=False)
    firsts = [page[0][0] for page in pages if isinstance(page, list) and page]
    entries = [*firsts, *(shard.since for shard in found if shard.since)]
    return [int(entry.partition(b"-")[0]) for entry in entries]


def _filled(memory: Any) -> float | None:
    """The used part of `maxmemory` in per cent; None if there is no limit."""
    if isinstance(memory, Exception) or not int(memory.get("maxmemory", 0)):
        return None
    return 100 * int(memory["used_memory"]) / int(memory["maxmemory"])


def _is_sealed(stream: Any) -> bool:
    return (
        not isinstance(stream, Exception)
        and stream["last-generated-id"] == SEALED_ID.encode()
    )


def _shard(stream: Any, groups: Any, pending: Any) -> _Shard:
    if isinstance(stream, Exception):
        return _Shard()
    named = [] if isinstance(groups, Exception) else groups
    group = next((one for one in named if one["name"] == GROUP.encode()), None)
    if group is None or isinstance(pending, Exception):
        first = stream["first-entry"]
        return _Shard(stream["length"], first[0] if first else None)
    read = group["entries-read"]
    if read is None:
        # Nothing was ever read, or Redis does not know how much.
        read = 0 if group["last-delivered-id"] == b"0-0" else stream["entries-added"]
    undelivered = stream["entries-added"] - read
    waiting = pending["pending"] + min(undelivered, stream["length"])
    if pending["min"]:
        return _Shard(waiting, since=pending["min"])
    is_behind = group["last-delivered-id"] != stream["last-generated-id"]
    behind = group["last-delivered-id"] if is_behind else None
    return _Shard(waiting, behind=behind)
