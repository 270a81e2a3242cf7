"""The servers that only streams are on: which of them answer, and what they hold.

One of several may be away. What is read of the shards of the others is shown all the same.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from redis.asyncio import Redis

from scripts.servers import Connection, rows, streams_remedy
from scripts.sql import statements
from workers.redis_io.stream_state import StreamState
from workers.redis_io.streams import (
    StreamServer,
    StreamServerAway,
    StreamsRedis,
    servers_of,
)

_SQL: Final = statements("services/observe/status")
_SCRIPT: Final = "return 1"
_ANSWER_SECONDS: Final = 2.0

#: Why servers of streams cannot be used, by their names.
Away = Mapping[str, StreamServerAway]
NONE_AWAY: Final[Away] = {}


class Reached(NamedTuple):
    """The shards whose servers answer, and why the others do not."""

    shards: Sequence[int]
    away: Away

    @property
    def missing(self) -> list[int]:
        """The shards whose servers are away."""
        return sorted(n for each in self.away.values() for n in each.server.shards)


async def reach(
    redis: Redis, shards: Sequence[int], given_up: Away = NONE_AWAY
) -> Reached:
    """Ask all servers of streams at once whether they answer.

    Not those that were `given_up`. Where REDIS_URL leads to the streams too, nothing is asked.
    """
    if not isinstance(redis, StreamsRedis):
        return Reached(shards, {})
    asked = [each for each in servers_of(redis, shards) if each.name not in given_up]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_problem(redis, each)) for each in asked]
    found = {each.server.name: each for task in tasks if (each := task.result())}
    away = {**given_up, **found}
    missing = {shard for each in away.values() for shard in each.server.shards}
    return Reached([shard for shard in shards if shard not in missing], away)


async def last_seen(connection: Connection) -> Mapping[int, datetime]:
    """When workers last saw the stream of each shard."""
    found = await rows(connection, _SQL["shards_seen"])
    return {each["shard"]: each["seen_at"] for each in found}


def away_rows(away: Away, seen: Mapping[int, datetime]) -> list[dict[str, Any]]:
    """One for each server that is away: its shards, why, what to do, since when.

    `seen` is what `last_seen` found; empty where nobody knows. Shards of a cluster that are
    away for one reason are one row.
    """
    found: dict[tuple[str, str], list[int]] = {}
    remedies: dict[tuple[str, str], str] = {}
    for each in away.values():
        place = _without_shard(each.server), each.problem
        found.setdefault(place, []).extend(each.server.shards)
        remedies[place] = streams_remedy(each)
    return [
        {
            "server": place[0],
            "shards": numbers,
            "problem": place[1],
            "remedy": remedies[place],
            "answered_at": max((seen[n] for n in numbers if n in seen), default=None),
        }
        for place, numbers in found.items()
    ]


async def server_rows(
    redis: Redis,
    states: Sequence[StreamState],
    away: Away,
    seen: Mapping[int, datetime],
) -> list[dict[str, Any]]:
    """Those of `away_rows`, and what each other server holds; none where streams are at home."""
    if not isinstance(redis, StreamsRedis):
        return []
    nobody: dict[str, Any] = dict.fromkeys(("entries", *_MEMORY))
    found = [{**each, **nobody} for each in away_rows(away, seen)]
    lengths = {each.shard: each.length for each in states}
    for server in servers_of(redis, [*lengths]):
        told = await memory_of(redis, server)
        found.append(
            {
                "server": server.name,
                "shards": [*server.shards],
                "problem": None,
                "remedy": None,
                "answered_at": None,
                "entries": sum(lengths[shard] for shard in server.shards),
                **dict(zip(_MEMORY, told, strict=True)),
            }
        )
    return found


_MEMORY: Final = ("memory_bytes", "memory_limit_bytes")


async def memory_of(redis: Redis, server: StreamServer) -> tuple[int, int | None]:
    """What a server's memory holds and may hold, in bytes; None: without a limit."""
    if isinstance(redis, StreamsRedis):
        async with redis.asking(server):
            told = await server.client.info("memory")
    else:
        told = await redis.info("memory")
    return int(told["used_memory"]), int(told["maxmemory"]) or None


def _without_shard(server: StreamServer) -> str:
    """What a shard's server is called; of a cluster, what the cluster is."""
    numbers = ", ".join(map(str, server.shards))
    return server.name.removeprefix(f"shard {numbers} of ")


async def _problem(
    redis: StreamsRedis, server: StreamServer
) -> StreamServerAway | None:
    try:
        # Who is let in may still hang: one that takes no writes lets no script run.
        async with redis.asking(server), asyncio.timeout(_ANSWER_SECONDS):
            await server.client.execute_command("EVAL", _SCRIPT, 0)  # type: ignore[no-untyped-call]
            return None
    except StreamServerAway as error:
        return error
