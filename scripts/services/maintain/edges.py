"""What edges report of themselves."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
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


async def gone_at(redis: Redis) -> datetime | None:
    """When the last edge that did not end well was last there; None if there is none."""
    latest = await redis.zrange(EDGES_KEY, 0, -1, desc=True, withscores=True)
    for name, seconds in latest:
        if not await redis.exists(edge_key(name.decode())):
            return datetime.fromtimestamp(seconds, UTC)
    return None


def untrusted_forwarders(edges: Sequence[Mapping[str, Any]]) -> list[str]:
    """Who sends most requests of an edge, with X-Forwarded-For and without being trusted."""
    found = {edge["forwarder"]["address"] for edge in edges if edge.get("forwarder")}
    return sorted(found)
