"""How the installation stands: the ledger, each shard, workers, edges and memory."""

import asyncio
from typing import Any, Final

from redis.asyncio import Redis

from scripts.environment import Environment
from scripts.servers import postgres, redis_server, rows, shard_count
from scripts.services.administer.catalogue.unknown_codes import unknown_codes
from scripts.services.maintain.edges import standing
from scripts.services.maintain.pauses import lasting
from scripts.services.observe.ledger import LedgerView, ended, losses, read_ledger
from scripts.services.observe.streams import backlog, memory
from scripts.sql import statements
from workers.archive.object_store.upload import upload_reports
from workers.postgres.database import Connection
from workers.quarantine.budget import largest_shares
from workers.stream.liveness import live_workers

_QUARANTINE: Final = statements("services/recover/quarantine")
_REPLAYS: Final = statements("services/recover/replays")
_CODES: Final = 5
_FIGURES: Final = (
    "accepted", "recorded", "repeats", "quarantined", "lost", "in_flight", "spooled",
    "balance", "is_still", "is_exact",
)  # fmt: skip


async def read_status(environment: Environment, window: float) -> dict[str, Any]:
    """Everything, with throughput over `window` seconds; 0: without. Raises Unreachable."""
    async with postgres(environment) as connection, redis_server(environment) as redis:
        shards = await shard_count(environment, redis)
        earlier = None
        if window:
            earlier = await read_ledger(redis, connection, shards, environment.data)
            await asyncio.sleep(window)
        ledger = await read_ledger(redis, connection, shards, environment.data)
        rates = _rates(earlier, ledger)
        lost = await losses(connection)
        return {
            **_ledger(ledger),
            "lost_at_most": _at_most(ledger.lost, lost),
            "losses": lost,
            **rates,
            **await memory(
                redis,
                ledger.shards,
                rates["accepted_per_second"],
                events_per_entry=ledger.streamed / max(1, ledger.entries),
            ),
            **await _workers(redis),
            "dropped": await rows(connection, _QUARANTINE["dropped"]),
            "shares": await _shares(environment, connection),
            "paused": await lasting(connection),
            "edges": await standing(redis),
            "replays": await rows(connection, _REPLAYS["open"]),
            "archive": await backlog(redis, shards),
            "unknown_codes": await unknown_codes(connection, redis, _CODES),
            "ended": await ended(connection, ledger),
            "shards": [_shard(ledger, index) for index in range(shards)],
        }


async def _shares(
    environment: Environment, connection: Connection
) -> list[dict[str, Any]]:
    """What the largest holders have of quarantine, and how much of it they may have."""
    kept = environment.quarantine_rows()
    return [each._asdict() for each in await largest_shares(connection, kept, 1)]


def _ledger(ledger: LedgerView) -> dict[str, Any]:
    return {
        **{name: getattr(ledger, name) for name in _FIGURES},
        "lag_seconds": max(map(ledger.lag, range(len(ledger.shards))), default=0.0),
        "lag_entries": ledger.in_flight,
    }


def _at_most(lost: int, losses: list[dict[str, Any]]) -> int | None:
    """How many events are lost at most; None if nobody knows."""
    if any(each["at_most"] is None for each in losses):
        return None
    return lost + sum(int(each["at_most"] - each["lost"]) for each in losses)


def _rates(earlier: LedgerView | None, ledger: LedgerView) -> dict[str, float | None]:
    seconds = 0 if earlier is None else ledger.at - earlier.at
    return {
        f"{name}_per_second": None
        if seconds <= 0
        else round((getattr(ledger, name) - getattr(earlier, name)) / seconds, 1)
        for name in ("accepted", "recorded")
    }


def _shard(ledger: LedgerView, index: int) -> dict[str, Any]:
    shard, waiting = ledger.shards[index], ledger.waiting[index]
    return {
        "shard": shard.shard,
        "epoch": shard.epoch,
        "length": shard.length,
        "entries_added": shard.added,
        "undelivered": waiting.entries,
        "pending": shard.recorder.pending,
        "in_flight": waiting.entries + shard.recorder.pending,
        "lag_seconds": ledger.lag(index),
        "oldest_pending_seconds": ledger.age(shard.recorder.oldest_pending),
    }


async def _workers(redis: Redis) -> dict[str, Any]:
    alive = await live_workers(redis)
    told = await upload_reports(redis, alive)
    return {"workers": len(alive), "worker_names": alive, "uploads": told}
