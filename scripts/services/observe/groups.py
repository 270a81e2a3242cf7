"""Consumer groups of the streams, and who reads in them."""

from collections.abc import Sequence
from typing import Any, Final

from redis.asyncio import Redis

from ingest.contracts.stream import events_key
from scripts.services.observe.streams import read_shard
from workers.redis_io.stream_state import GroupState, StreamState

#: Deliveries of one entry that are more than a worker's death explains, and how many such
#: entries are looked for.
_MANY: Final = 3
_LOOKED_AT: Final = 200


async def read_groups(redis: Redis, shards: Sequence[int]) -> list[dict[str, Any]]:
    """By shard and group: its place, what is pending, and its consumers. Raises Unreachable."""
    found = []
    for shard in shards:
        state = await read_shard(redis, shard)
        for name, group in sorted(state.groups.items()):
            consumers = await redis.xinfo_consumers(events_key(shard), name)
            found.append(
                {
                    **_described(state, name, group),
                    "often_delivered": await _often(redis, shard, name),
                    "consumers": [
                        {
                            "consumer": each["name"].decode("utf-8", "replace"),
                            "pending": each["pending"],
                            "idle_seconds": each["idle"] / 1000,
                        }
                        for each in consumers
                    ],
                }
            )
    return found


def _described(state: StreamState, name: str, group: GroupState) -> dict[str, Any]:
    place = group.delivered
    oldest = group.oldest_pending
    return {
        "shard": state.shard,
        "group": name,
        "place": str(place),
        "behind_seconds": max(0, state.last.ms - place.ms) / 1000,
        "pending": group.pending,
        "oldest_pending_seconds": (state.at_ms - oldest.ms) / 1000 if oldest else 0.0,
    }


async def _often(redis: Redis, shard: int, group: str) -> list[dict[str, Any]]:
    """Pending entries that were delivered more than three times."""
    page = await redis.xpending_range(
        events_key(shard), group, min="-", max="+", count=_LOOKED_AT
    )
    return [
        {"entry": each["message_id"].decode(), "deliveries": each["times_delivered"]}
        for each in page
        if each["times_delivered"] > _MANY
    ]
