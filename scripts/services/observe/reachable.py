"""What Redis and PostgreSQL say of the installation, or the one of them that can be reached."""

import asyncio
from collections.abc import Container, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import partial
from typing import Any, Final

from redis.asyncio import Redis

from scripts.environment import Environment
from scripts.errors import Unreachable
from scripts.servers import (
    Connection,
    PostgresAway,
    RedisAway,
    postgres,
    redis_server,
    rows,
    shard_numbers,
)
from scripts.services.administer.catalogue.unknown_codes import unknown_codes
from scripts.services.maintain.edges import gone_at, standing
from scripts.services.maintain.pauses import lasting
from scripts.services.observe.ledger import (
    LedgerView,
    StreamsView,
    at_most,
    ended,
    losses,
    read_ledger,
    read_streams,
    read_totals,
)
from scripts.services.observe.streams import backlog, memory
from scripts.sql import statements
from workers.archive.object_store.upload import upload_reports
from workers.quarantine.budget import largest_shares
from workers.redis_io.stream_state import StreamState
from workers.stream.liveness import live_workers

_SQL: Final = statements("services/observe/status")
_QUARANTINE: Final = statements("services/recover/quarantine")
_REPLAYS: Final = statements("services/recover/replays")
_CODES: Final = 5
#: Somebody is waiting: a server that takes longer to let us in is away.
_PATIENCE_SECONDS: Final = 1.0
#: One that hangs after that is given up too.
_ANSWER_SECONDS: Final = 5.0
_redis: Final = partial(
    redis_server, seconds=_ANSWER_SECONDS, patience=_PATIENCE_SECONDS
)
_postgres: Final = partial(postgres, patience=_PATIENCE_SECONDS)
FIGURES: Final = (
    "accepted", "recorded", "repeats", "quarantined", "lost", "in_flight", "spooled",
    "balance", "is_still", "is_exact",
)  # fmt: skip

Status = dict[str, Any]


async def read_servers(
    environment: Environment, window: float
) -> tuple[Status, dict[str, Unreachable]]:
    """What the servers say that can be reached, and why others cannot.

    Raises Unreachable if nothing says where they are.
    """
    environment.redis_url()
    environment.database_url()
    away: dict[str, Unreachable] = {}
    # At once: each takes its time to be given up.
    async with asyncio.TaskGroup() as group:
        for server in (_redis(environment), _postgres(environment)):
            group.create_task(_knock(server, away))
    found: Status | None = None
    while found is None:
        with _noting(away):
            found = await _read_those_there(environment, window, away)
    return found, away


async def _knock(
    server: AbstractAsyncContextManager[object], away: dict[str, Unreachable]
) -> None:
    with _noting(away):
        async with server:
            pass


@contextmanager
def _noting(away: dict[str, Unreachable]) -> Iterator[None]:
    try:
        yield
    except RedisAway as error:
        away["redis"] = error
    except PostgresAway as error:
        away["postgres"] = error


async def _read_those_there(
    environment: Environment, window: float, away: Container[str]
) -> Status:
    if "redis" in away:
        return {} if "postgres" in away else await _postgres_alone(environment)
    if "postgres" in away:
        return await _redis_alone(environment, window)
    return await _both(environment, window)


async def _both(environment: Environment, window: float) -> Status:
    async with _postgres(environment) as connection, _redis(environment) as redis:
        shards = await shard_numbers(environment, redis)
        earlier = None
        if window:
            earlier = await read_ledger(redis, connection, shards, environment.data)
        until = asyncio.create_task(asyncio.sleep(window))
        of_postgres = await _from_postgres(environment, connection)
        await until
        ledger = await read_ledger(redis, connection, shards, environment.data)
        rates = _rates(earlier, ledger)
        lost = await losses(connection)
        return {
            **of_postgres,
            **{name: getattr(ledger, name) for name in FIGURES},
            "losses": lost,
            "lost_at_most": at_most(ledger.lost, lost),
            **rates,
            **await _from_redis(redis, ledger),
            **await memory(
                redis,
                ledger.shards,
                rates["accepted_per_second"],
                events_per_entry=ledger.streamed / max(1, ledger.entries),
            ),
            "lag_entries": ledger.in_flight,
            "unknown_codes": await unknown_codes(connection, redis, _CODES),
            "ended": await ended(connection, ledger.shards),
        }


async def _postgres_alone(environment: Environment) -> Status:
    async with _postgres(environment) as connection:
        totals, lost = await read_totals(connection), await losses(connection)
        return {
            **await _from_postgres(environment, connection),
            **totals,
            "losses": lost,
            "lost_at_most": at_most(totals["lost"], lost),
            "ended": await ended(connection, ()),
            "edges_lately": await rows(connection, _SQL["edges_lately"]),
        }


async def _redis_alone(environment: Environment, window: float) -> Status:
    """In entries: how many events they have is in PostgreSQL."""
    async with _redis(environment) as redis:
        shards = await shard_numbers(environment, redis)
        earlier = await read_streams(redis, shards)
        await asyncio.sleep(window)
        view = await read_streams(redis, shards)
        seconds, added = (
            view.at - earlier.at,
            _added(view.shards) - _added(earlier.shards),
        )
        rate = round(added / seconds, 1) if window and seconds > 0 else None
        return {
            **await _from_redis(redis, view),
            **await memory(redis, view.shards, rate, events_per_entry=1.0),
            "in_flight": view.entries_in_flight,
            "is_exact": view.is_exact,
            "accepted_per_second": rate,
        }


async def _from_postgres(environment: Environment, connection: Connection) -> Status:
    kept = environment.quarantine_rows()
    shares = await largest_shares(connection, kept, 1)
    return {
        "dropped": await rows(connection, _QUARANTINE["dropped"]),
        "stuck": await rows(connection, _QUARANTINE["stuck"]),
        "shares": [each._asdict() for each in shares],
        "paused": await lasting(connection),
        "streams_seen_at": await connection.fetchval(_SQL["streams_seen_at"]),
        "replays": await rows(connection, _REPLAYS["open"]),
    }


async def _from_redis(redis: Redis, view: StreamsView) -> Status:
    alive = await live_workers(redis)
    shards = range(len(view.shards))
    return {
        "lag_seconds": view.lag_seconds,
        "lag_entries": view.entries_in_flight,
        "workers": len(alive),
        "worker_names": alive,
        "uploads": await upload_reports(redis, alive),
        "edges": await standing(redis),
        "edge_gone_at": await gone_at(redis),
        "archive": await backlog(redis, [shard.shard for shard in view.shards]),
        "shards": [_shard(view, index) for index in shards],
    }


def _added(shards: Sequence[StreamState]) -> int:
    return sum(shard.added for shard in shards)


def _rates(earlier: LedgerView | None, ledger: LedgerView) -> dict[str, float | None]:
    seconds = 0 if earlier is None else ledger.at - earlier.at
    return {
        f"{name}_per_second": None
        if seconds <= 0
        else round((getattr(ledger, name) - getattr(earlier, name)) / seconds, 1)
        for name in ("accepted", "recorded")
    }


def _shard(view: StreamsView, index: int) -> dict[str, Any]:
    shard, waiting = view.shards[index], view.waiting[index]
    return {
        "shard": shard.shard,
        "epoch": shard.epoch,
        "length": shard.length,
        "entries_added": shard.added,
        "undelivered": waiting.entries,
        "pending": shard.recorder.pending,
        "in_flight": waiting.entries + shard.recorder.pending,
        "lag_seconds": view.lag(index),
        "oldest_pending_seconds": view.age(shard.recorder.oldest_pending),
    }
