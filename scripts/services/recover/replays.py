"""Ordering replays and seeing how they go.

The workers do the work; a replay is a row, and commands write and read it.
"""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from scripts.errors import UsageProblem
from scripts.servers import Connection, rows
from scripts.sql import statements
from workers.redis_io.stream_state import lag_of, read_stream
from workers.replay.leases import Mode
from workers.replay.request import ReplayRequest
from workers.stream.liveness import living

_SQL: Final = statements("services/recover/replays")

_COUNTS: Final = (
    "scanned", "inserted", "changed", "unchanged", "quarantined", "refused",
)  # fmt: skip
_FROM: Final = {
    "paused": ("running",),
    "running": ("paused",),
    "cancelled": ("running", "paused"),
}


async def order(
    connection: Connection, mode: Mode, request: ReplayRequest, shards: int
) -> UUID:
    """Write down a new replay; workers begin within a second or two."""
    replay_id = UUID(int=uuid7().int)
    async with connection.transaction():
        await connection.execute(_SQL["order"], replay_id, mode, request.encode())
        parts = [(replay_id, shard) for shard in range(shards)]
        await connection.executemany(_SQL["order_part"], parts)
    return replay_id


async def read(connection: Connection, replay_id: UUID) -> dict[str, Any]:
    """How a replay stands. Raises UsageProblem for one that nobody ordered."""
    row = await connection.fetchrow(_SQL["one"], replay_id)
    if row is None:
        raise _unknown(replay_id)
    return dict(row)


async def listed(connection: Connection, limit: int) -> list[dict[str, Any]]:
    return await rows(connection, _SQL["list"], limit)


async def unfinished(connection: Connection) -> list[dict[str, Any]]:
    """Those that run or are paused."""
    return await rows(connection, _SQL["open"])


async def put(connection: Connection, replay_id: UUID, status: str) -> str:
    """Pause, resume or cancel it; the status before. Raises UsageProblem where it is over."""
    row = await connection.fetchrow(_SQL["set"], replay_id, status, _FROM[status])
    if row is None:
        raise _unknown(replay_id)
    now: str = row["status"]
    if not row["is_changed"] and now != status:
        raise UsageProblem(
            f"The replay {replay_id} is {now}.", "order a new one: `reftide replay`."
        )
    return now


async def codes_of(connection: Connection, link_id: UUID) -> tuple[str, ...]:
    return tuple(row["code"] for row in await connection.fetch(_SQL["codes"], link_id))


async def horizon(connection: Connection) -> Any:
    """Until when the partitions of events are detached; None where none is."""
    return await connection.fetchval(_SQL["horizon"])


async def live_lag(redis: Redis, shards: int) -> float:
    """How far behind the recorder is, in seconds, in the worst of the shards."""
    streams = [await read_stream(redis, shard) for shard in range(shards)]
    return max((lag_of(each).seconds for each in streams if each), default=0.0)


async def has_workers(redis: Redis) -> bool:
    return bool(await living(redis))


def summary(replay: Mapping[str, Any]) -> dict[str, Any]:
    """What `reftide replay` says in the end."""
    counts = {name: replay[name] for name in _COUNTS}
    return {
        "id": replay["id"],
        "mode": replay["mode"],
        "status": replay["status"],
        "dry_run": replay["dry_run"],
        **counts,
        "seconds": replay["seconds"],
    }


def _unknown(replay_id: UUID) -> UsageProblem:
    return UsageProblem(
        f"There is no replay {replay_id}.", "see `reftide replays list`."
    )
