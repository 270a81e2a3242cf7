"""Consumer groups, moved back so that they read entries again."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from redis.asyncio import Redis

from ingest.contracts.stream import EntryId, events_key
from scripts.errors import UsageProblem
from scripts.services.observe.streams import find_shard
from scripts.times import moment, unix_ms
from workers.redis_io.stream_state import ZERO, StreamState

_ENTRY: Final = re.compile(r"\d{1,20}-\d{1,20}")
_LAST_SEQ: Final = (1 << 64) - 1


def place(text: str, now: datetime) -> EntryId | datetime:
    """An entry's id, or a moment. Raises ValueError, which says what may be written."""
    return EntryId.of(text) if _ENTRY.fullmatch(text) else moment(text, now)


async def rewind(
    redis: Redis,
    shards: Sequence[int],
    group: str,
    place: EntryId | datetime,
    *,
    makes_group: bool = False,
) -> list[dict[str, Any]]:
    """Move a group of these shards back to an entry or a moment; where it was and is.

    Raises UsageProblem, before one is moved, where a shard lacks the group and it is not to
    be made.
    """
    first = place if isinstance(place, EntryId) else EntryId(unix_ms(place), 0)
    looked = [await find_shard(redis, shard) for shard in shards]
    found = [state for state in looked if state is not None]
    lacking = [state.shard for state in found if group not in state.groups]
    if lacking and not makes_group:
        raise UsageProblem(
            f"Shard {lacking[0]} has no group {group!r}.",
            "check the name, or make it with --create.",
        )
    return [await _move(redis, state, group, first) for state in found]


async def _move(
    redis: Redis, state: StreamState, group: str, first: EntryId
) -> dict[str, Any]:
    key, to, was = events_key(state.shard), _before(first), None
    if group not in state.groups:
        await redis.xgroup_create(key, group, str(to))
    else:
        was = state.groups[group].delivered
        if to < was:
            await redis.xgroup_setid(key, group, str(to))
        # It reads what is behind its place by itself.
        to = min(to, was)
    return {
        "shard": state.shard,
        "was": None if was is None else str(was),
        "is": str(to),
        "begins": _begins_behind(state, first),
    }


def _begins_behind(state: StreamState, place: EntryId) -> str | None:
    """Where a stream begins that was trimmed, if that is behind a place."""
    if state.added == state.length:
        return None
    if state.first is None:
        return str(state.last.next)
    return str(state.first) if state.first > place else None


def _before(entry: EntryId) -> EntryId:
    """The highest id below an entry's: a group is given what comes after its place."""
    if entry == ZERO:
        return ZERO
    if entry.seq:
        return entry._replace(seq=entry.seq - 1)
    return EntryId(entry.ms - 1, _LAST_SEQ)
