"""The shards as they are: where each is, what it has, and who runs with other ones."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis

from ingest.contracts.placement.layout import described, slot_of
from scripts.services.maintain.edges import standing
from scripts.services.observe.streams import read_shard
from scripts.services.shards.leftovers import left_sealed
from scripts.services.shards.sealing import is_sealed, unread
from scripts.services.shards.sides import Record, Side
from workers.redis_io.stream_state import registered_groups
from workers.redis_io.streams import nodes_of, servers_of
from workers.stream.liveness import live_workers, shards_of


async def overview(side: Side, record: Record) -> dict[str, Any]:
    """All shards, in the order of their layout; raises Unreachable."""
    redis, numbers = side.redis, side.layout.numbers
    groups = await registered_groups(redis)
    servers = await nodes_of(servers_of(redis, numbers))
    names = {shard: each.name for each in servers for shard in each.shards}
    rows = []
    for shard in numbers:
        stream = await read_shard(redis, shard)
        rows.append(
            {
                "shard": shard,
                "tag": f"{{rt:{shard}}}",
                "slot": slot_of(shard),
                "server": names[shard] or "REDIS_URL",
                "entries": stream.length,
                "in_flight": await unread(redis, shard, groups),
                "sealed": is_sealed(stream),
            }
        )
    change = record.change
    return {
        "agreed": described(record.shards),
        "count": len(numbers),
        "shards": rows,
        "left_sealed": await left_sealed(redis, numbers),
        "change": change
        and {
            "from": described(change.from_.encode()),
            "to": described(change.to.encode()),
            "since": change.since,
            "is_agreed": record.is_agreed,
        },
        "workers": await _workers(redis),
        "edges": Counter(
            each.get("shards") or "unknown" for each in await standing(redis)
        ),
    }


async def _workers(redis: Redis) -> Mapping[str, int]:
    """How many workers are alive, by the shards that they have; former ones do not say."""
    names = await live_workers(redis)
    return Counter([await shards_of(redis, name) or "unknown" for name in names])
