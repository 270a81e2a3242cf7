"""How the installation stands: the ledger, each shard, workers, edges, spools and memory.

A server that is away leaves None and empty lists; what edges and workers say of themselves is
there all the same. While one of several servers of streams is away, lag, memory and what is in
flight are those of the others.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ingest.durable.spool.directory import spool_of
from scripts.environment import Environment
from scripts.errors import Unreachable
from scripts.services.observe.findings import find
from scripts.services.observe.processes import merged, moment, read_processes
from scripts.services.observe.reachable import FIGURES, read_servers
from scripts.services.observe.spools import listed, room_on_disk

_RATES: Final = ("accepted_per_second", "recorded_per_second")
_FROM_REDIS: Final = (
    "lag_seconds", "lag_entries", "redis_memory_bytes", "redis_memory_limit_bytes",
    "bytes_per_event", "hours_left", "workers", "archive", "shards_agreed", "shards_change_since",
)  # fmt: skip
_LISTS: Final = (
    "losses", "worker_names", "uploads", "dropped", "stuck", "shares", "edges", "replays", "ended",
    "shards", "edges_lately", "unknown_codes", "stream_servers",
)  # fmt: skip
_UNKNOWN: Final[Mapping[str, Any]] = {
    **dict.fromkeys((*FIGURES, *_RATES, *_FROM_REDIS, "lost_at_most", "paused")),
    "streams_seen_at": None,
    "edge_gone_at": None,
    **{name: [] for name in _LISTS},
}

Status = dict[str, Any]


async def read_status(environment: Environment, window: float) -> Status:
    """Everything, with throughput over `window` seconds; 0: without.

    Raises Unreachable if nothing says where the servers are, and UsageProblem for admin ports
    that are none.
    """
    # First: redis-py leaves a connection open whose beginning is cancelled.
    ports = environment.admin_urls()
    # At once: what is frozen takes its time to be given up.
    try:
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(read_processes(ports))
            servers = group.create_task(read_servers(environment, window))
            kept = await asyncio.to_thread(listed, spool_of(environment.data))
    except ExceptionGroup as several:
        raise several.exceptions[0] from several
    processes, (found, away) = asked.result(), servers.result()
    told = {"spooled": _spooled(kept, processes), **found}
    now = environment.clock()
    status = merged({**_UNKNOWN, **told}, processes) | {
        "at": moment(now * 1000),
        "spools": kept,
        "reachable": _reachable(environment, found, away),
        "away": [_described(away[name], name) for name in away],
    }
    status |= _answered(status, processes) | room_on_disk(status, environment.data)
    return status | {"findings": find(status)}


def _reachable(
    environment: Environment, found: Status, away: Mapping[str, Unreachable]
) -> dict[str, bool | None]:
    """Whether the servers answer; `streams`, where they have servers of their own: all of them.

    None while Redis is away, which knows their shards.
    """
    reached: dict[str, bool | None] = {
        name: name not in away for name in ("redis", "postgres")
    }
    if environment.streams().are_apart:
        servers = found.get("stream_servers")
        reached["streams"] = servers and all(not each["problem"] for each in servers)
    return reached


def _spooled(
    kept: Sequence[Mapping[str, Any]], processes: Sequence[Mapping[str, Any]]
) -> int | None:
    """Events on the disks that can be seen; None if an edge elsewhere has some."""
    seen = sum(each["events"] for each in kept)
    is_elsewhere = any(each.get("spool_bytes") for each in processes)
    return None if is_elsewhere and not seen else seen


def _described(error: Unreachable, server: str) -> Status:
    return {"server": server, "problem": error.what, "remedy": error.remedy}


def _answered(status: Status, processes: Sequence[Mapping[str, Any]]) -> Status:
    """When a server last answered an edge or a worker, and the last figures of both."""
    times = {
        server: [each[key] for each in processes if each.get(key)]
        for server in status["reachable"]
        for key in [f"{server}_answered_at"]
    }
    last = [each["last"] for each in processes if each.get("last")]
    latest = max(last, key=lambda each: each["at"], default=None)
    if seen := status["streams_seen_at"]:
        times["redis"].append(seen.timestamp() * 1000)
    return {
        "answered_at": {
            server: moment(max(found)) if found else None
            for server, found in times.items()
        },
        "last_known": latest and {**latest, "at": moment(latest["at"])},
    }
