"""`reftide status`: the books, the lag, who works, and how long the memory lasts."""

import asyncio
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import click
from redis.asyncio import Redis

from ingest.contracts.checkup import size
from ingest.contracts.stream import events_key
from scripts.books import Books, ended, read_books
from scripts.edges import standing
from scripts.environment import Environment
from scripts.output import cell, counted, emit, facts, json_option, table
from scripts.pauses import lasting
from scripts.queries import statements
from scripts.replaying import unfinished
from scripts.servers import postgres, redis_server, rows, shard_count
from scripts.streams import backlog
from workers.living import living

_QUARANTINE: Final = statements("quarantine")

_SHARD_COLUMNS: Final = (
    "shard", "epoch", "length", "entries_added", "undelivered", "pending", "in_flight",
    "lag_seconds", "oldest_pending_seconds",
)  # fmt: skip
_REPLAY_COLUMNS: Final = (
    "id", "mode", "status", "read", "expected", "scanned", "inserted", "changed",
)  # fmt: skip
_DROPPED_COLUMNS: Final = ("reason", "entries", "first", "latest")
_EDGE_COLUMNS: Final = ("edge", "level", "why", "spool_bytes")
_ENDED_COLUMNS: Final = (
    "shard", "epoch", "entries", "settled", "missing", "counted_at", "ended_at",
)  # fmt: skip

#: What can be known of a stream that is gone, and what not.
_LOST: Final = (
    "Missing is what reached such a stream, as far as workers counted it and edges that"
    " are alive say, and is in no book: what the archive has of it comes back with"
    " `reftide replay`. What an edge that is gone too appended between counted at and"
    " ended at, nobody knows."
)

_NO_ROOM: Final = (
    "Clients caused more than quarantine has room for: see `reftide quarantine list`. What"
    " can be placed by now comes back with `reftide replay`."
)


@click.command(
    epilog="""\b
The balance is accepted - recorded - repeats - quarantined - lost - in flight -
spooled. At rest it is 0; `reftide verify` proves it. While events flow, those that
are committed but not yet acknowledged show twice, so it may be a little less.
Spooled is what waits on the disks of edges that share this data directory.
Lost is what somebody took out of a stream before it was recorded.

\b
  reftide status --json | jq .lag_seconds
"""
)
@click.option(
    "--window",
    type=click.FloatRange(0, 60),
    default=1.0,
    show_default=True,
    help="Seconds over which throughput is measured; 0: do not.",
)
@click.option(
    "--watch",
    type=click.FloatRange(0.5),
    metavar="SECONDS",
    help="Show it again after so many seconds, until Ctrl-C.",
)
@json_option
@click.pass_obj
def command(
    environment: Environment, window: float, watch: float | None, *, as_json: bool
) -> None:
    """Show the books, the lag of every shard, the workers and the memory."""
    if watch and as_json:
        raise click.UsageError("--json prints one document: leave out --watch.")
    while True:
        status = asyncio.run(_status(environment, window))
        if watch:
            click.clear()
        emit(as_json, status, partial(_show, status))
        if not watch:
            return
        time.sleep(watch)


async def _status(environment: Environment, window: float) -> dict[str, Any]:
    async with postgres(environment) as connection, redis_server(environment) as redis:
        shards = await shard_count(environment, redis)
        earlier = None
        if window:
            earlier = await read_books(redis, connection, shards, environment.data)
            await asyncio.sleep(window)
        books = await read_books(redis, connection, shards, environment.data)
        rates = _rates(earlier, books)
        return {
            **_ledger(books),
            **rates,
            **await _memory(redis, books, rates["accepted_per_second"]),
            **await _workers(redis),
            "dropped": await rows(connection, _QUARANTINE["dropped"]),
            "paused": await lasting(connection),
            "edges": await standing(redis),
            "replays": await unfinished(connection),
            "archive": await backlog(redis, shards),
            "ended": await ended(connection, books),
            "shards": [_shard(books, index) for index in range(shards)],
        }


def _ledger(books: Books) -> dict[str, Any]:
    return {
        "accepted": books.accepted,
        "recorded": books.recorded,
        "repeats": books.repeats,
        "quarantined": books.quarantined,
        "lost": books.lost,
        "in_flight": books.in_flight,
        "spooled": books.spooled,
        "balance": books.balance,
        "is_still": books.is_still,
        "is_exact": books.is_exact,
        "lag_seconds": max(map(books.lag, range(len(books.shards))), default=0.0),
        "lag_entries": books.in_flight,
    }


def _rates(earlier: Books | None, books: Books) -> dict[str, float | None]:
    if earlier is None or books.at <= earlier.at:
        return {"accepted_per_second": None, "recorded_per_second": None}
    seconds = books.at - earlier.at
    return {
        "accepted_per_second": round((books.accepted - earlier.accepted) / seconds, 1),
        "recorded_per_second": round((books.recorded - earlier.recorded) / seconds, 1),
    }


def _shard(books: Books, index: int) -> dict[str, Any]:
    shard, waiting = books.shards[index], books.waiting[index]
    return {
        "shard": shard.shard,
        "epoch": shard.epoch,
        "length": shard.length,
        "entries_added": shard.added,
        "undelivered": waiting.entries,
        "pending": shard.pending,
        "in_flight": waiting.entries + shard.pending,
        "lag_seconds": books.lag(index),
        "oldest_pending_seconds": books.age(shard.oldest_pending),
    }


async def _workers(redis: Redis) -> dict[str, Any]:
    alive = await living(redis)
    return {"workers": len(alive), "worker_names": alive}


async def _memory(
    redis: Redis, books: Books, accepted_per_second: float | None
) -> dict[str, Any]:
    memory = await redis.info("memory")
    used, limit = int(memory["used_memory"]), int(memory["maxmemory"])
    streams = [await redis.memory_usage(events_key(one.shard)) for one in books.shards]
    length = sum(shard.length for shard in books.shards)
    each = round(sum(size or 0 for size in streams) / length, 1) if length else None
    hours = None
    if limit and each and accepted_per_second:
        hours = round(max(0, limit - used) / each / accepted_per_second / 3600, 2)
    return {
        "redis_memory_bytes": used,
        "redis_memory_limit_bytes": limit or None,
        "bytes_per_event": each,
        "hours_left": hours,
    }


def _show(status: Mapping[str, Any]) -> None:
    facts(_for_people(status), "Reftide")
    table(status["shards"], _SHARD_COLUMNS, "Shards")
    if status["edges"]:
        table(status["edges"], _EDGE_COLUMNS, "Edges")
    if status["replays"]:
        table(status["replays"], _REPLAY_COLUMNS, "Replays")
    _show_what_went(status)
    if not status["is_still"]:
        click.echo("Events moved while this was read: the figures are moments apart.")
    if not status["is_exact"]:
        click.echo("The backlog is large: what is in flight is taken from counters.")
    if paused := status["paused"]:
        click.echo(
            f"Recording is paused since {cell(paused['paused_at'])}:"
            f" {cell(paused['detail'])}. Fix it, then `reftide resume`."
        )
    if not status["workers"]:
        click.echo("No worker is alive: run `reftide worker` (or `reftide up`).")


def _show_what_went(status: Mapping[str, Any]) -> None:
    if status["ended"]:
        table(status["ended"], _ENDED_COLUMNS, "Streams that were lost")
        click.echo(_LOST)
    if status["dropped"]:
        table(status["dropped"], _DROPPED_COLUMNS, "Quarantined and not kept")
        click.echo(_NO_ROOM)


def _for_people(status: Mapping[str, Any]) -> dict[str, object]:
    counts = (
        "accepted", "recorded", "repeats", "quarantined", "lost", "in_flight", "spooled",
    )  # fmt: skip
    rates = ("accepted_per_second", "recorded_per_second")
    each, hours = status["bytes_per_event"], status["hours_left"]
    names = ", ".join(status["worker_names"])
    return {
        **{name: f"{status[name]:,}" for name in counts},
        "balance": status["balance"],
        "lag": f"{status['lag_seconds']:,.1f} s",
        **{name: status[name] for name in rates},
        "redis_memory": _memory_for_people(status),
        "an_event_takes": None if each is None else size(each),
        "room_for": None if hours is None else f"{hours:,.1f} more hours at this rate",
        "workers": f"{status['workers']} ({names})" if names else status["workers"],
        "archive": _archive_for_people(status["archive"]),
    }


def _archive_for_people(archive: Mapping[str, Any] | None) -> str | None:
    if archive is None:
        return None
    return (
        f"{archive['lag_seconds']:,.1f} s behind,"
        f" {counted(archive['entries'], 'entry', 'entries')} to be finished"
    )


def _memory_for_people(status: Mapping[str, Any]) -> str:
    limit = status["redis_memory_limit_bytes"]
    used = size(status["redis_memory_bytes"])
    return f"{used} of {size(limit)}" if limit else f"{used}, without a limit"
