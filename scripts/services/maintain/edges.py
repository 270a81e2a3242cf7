"""What edges report of themselves."""

from typing import Any

import orjson
from redis.asyncio import Redis

from ingest.contracts.stream import EDGES_KEY, edge_key


async def standing(redis: Redis) -> list[dict[str, Any]]:
    """The edges that are alive and reach Redis: where events go, and why."""
    names = [name.decode() for name in await redis.zrange(EDGES_KEY, 0, -1)]
    told = [await redis.get(edge_key(name)) for name in names]
    return [
        {"edge": name, **orjson.loads(raw)}
        for name, raw in zip(names, told, strict=True)
        if raw is not None
    ]
