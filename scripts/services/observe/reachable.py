"""What Redis and PostgreSQL say of the installation, or the one of them that can be reached."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, NamedTuple

import orjson
from redis.asyncio import Redis

from ingest.contracts.placement.layout import described
from ingest.contracts.stream import SHARDS_CHANGE_KEY, SHARDS_KEY
from scripts.environment import Environment
from scripts.errors import Unreachable
from scripts.servers import (
    Connection,
    PostgresAway,
    RedisAway,
    StreamsAway,
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
from scripts.services.observe.stream_servers import (
    Reached,
    last_seen,
    reach,
    server_rows,
)
from scripts.services.observe.streams import backlog, memory
from scripts.sql import statements
from workers.archive.object_store.upload import upload_reports
from workers.quarantine.budget import largest_shares
from workers.redis_io.stream_state import StreamState
from workers.redis_io.streams import StreamServerAway
from workers.stream.liveness import live_workers

_SQL: Final = statements("services/observe/status")
_QUARANTINE: Final = statements("services/recover/quarantine")
_REPLAYS: Final = statements("services/recover/replays")
_CODES: Final = 5
#: Somebody is waiting: a server that takes longer to let us in is away.
_PATIENCE_SECONDS: Final = 1.0
#: One that hangs after that is given up too.
_ANSWER_SECONDS: Final = 3.0
_redis: Final = partial(
    redis_server, seconds=_ANSWER_SECONDS, patience=_PATIENCE_SECONDS
)
_postgres: Final = partial(postgres, patience=_PATIENCE_SECONDS)
FIGURES: Final = (
    "accepted", "recorded", "repeats", "quarantined", "lost", "in_flight", "spooled",
    "balance", "is_still", "is_exact",
)  # fmt: skip

Status = dict[str, Any]
_NEVER_SEEN: Final[Mapping[int, datetime]] = {}


class _Away(NamedTuple):
    """Why servers cannot be reached: `redis`, `postgres`, and by name those of streams alone."""

    servers: dict[str, Unreachable]
    of_streams: dict[str, StreamServerAway]


async def read_servers(
    environment: Environment, window: float
) -> tuple[Status, dict[str, Unreachable]]:
    """What the servers say that can be reached, and why others cannot.

    Why servers of streams cannot is among what is said: `stream_servers`. Raises Unreachable if
    nothing says where they are.
    """
    environment.redis_url()
    environment.database_url()
    away = _Away({}, {})
    # At once: each takes its time to be given up.
    async with asyncio.TaskGroup() as group:
        for server in (_redis(environment), _postgres(environment)):
            group.create_task(_knock(server, away))
    found: Status | None = None
    while found is None:
        with _noting(away):
            found = await _read_those_there(environment, window, away)
    return found, away.servers


async def _knock(server: AbstractAsyncContextManager[object], away: _Away) -> None:
    with _noting(away):
        async with server:
            pass


@contextmanager
def _noting(away: _Away) -> Iterator[None]:
    try:
        yield
    except StreamsAway as error:
        away.of_streams[error.away.server.name] = error.away
    except RedisAway as error:
        away.servers["redis"] = error
    except PostgresAway as error:
        away.servers["postgres"] = error


async def _read_those_there(
    environment: Environment, window: float, away: _Away
) -> Status:
    has_postgres = "postgres" not in away.servers
    if "redis" in away.servers:
        return await _postgres_alone(environment) if has_postgres else {}
    async with _redis(environment) as redis:
        shards = await shard_numbers(environment, redis)
        reached = await reach(redis, shards, away.of_streams)
        if not has_postgres:
            return await _redis_alone(redis, reached, window)
        async with _postgres(environment) as connection:
            if reached.away:
                return await _in_part(environment, connection, redis, reached, window)
            return await _both(environment, connection, redis, reached, window)


async def _both(
    environment: Environment,
    connection: Connection,
    redis: Redis,
    reached: Reached,
    window: float,
) -> Status:
    shards = reached.shards
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
        "stream_servers": await server_rows(redis, ledger.shards, {}, {}),
    }


async def _in_part(
    environment: Environment,
    connection: Connection,
    redis: Redis,
    reached: Reached,
    window: float,
) -> Status:
    """While a server of streams is away: the ledger cannot be balanced without its shards."""
    return {
        **await _redis_alone(redis, reached, window, await last_seen(connection)),
        **await _totals(environment, connection),
        "unknown_codes": await unknown_codes(connection, redis, _CODES),
    }


async def _postgres_alone(environment: Environment) -> Status:
    async with _postgres(environment) as connection:
        return {
            **await _totals(environment, connection),
            "edges_lately": await rows(connection, _SQL["edges_lately"]),
        }


async def _totals(environment: Environment, connection: Connection) -> Status:
    totals, lost = await read_totals(connection), await losses(connection)
    return {
        **await _from_postgres(environment, connection),
        **totals,
        "losses": lost,
        "lost_at_most": at_most(totals["lost"], lost),
        "ended": await ended(connection, ()),
    }


async def _redis_alone(
    redis: Redis,
    reached: Reached,
    window: float,
    seen: Mapping[int, datetime] = _NEVER_SEEN,
) -> Status:
    """In entries: how many events they have is in PostgreSQL.

    Of the shards that can be reached. Edges append to no others.
    """
    earlier = await read_streams(redis, reached.shards)
    await asyncio.sleep(window)
    view = await read_streams(redis, reached.shards)
    seconds, added = view.at - earlier.at, _added(view.shards) - _added(earlier.shards)
    rate = round(added / seconds, 1) if window and seconds > 0 else None
    known: Status = {
        **await memory(redis, view.shards, rate, events_per_entry=1.0),
        "stream_servers": await server_rows(redis, view.shards, reached.away, seen),
        **await _from_redis(redis, view),
    }
    if not reached.shards:
        # Nothing is known of any stream.
        return known | {"lag_seconds": None, "lag_entries": None, "archive": None}
    return known | {
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
        **await _agreed(redis),
        "shards": [_shard(view, index) for index in shards],
    }


async def _agreed(redis: Redis) -> Status:
    """Which shards there are to be, as processes say theirs, and since when that changes."""
    record, change = await redis.mget(SHARDS_KEY, SHARDS_CHANGE_KEY)
    since = change and datetime.fromtimestamp(orjson.loads(change)["since"], UTC)
    return {
        "shards_agreed": record and described(record),
        "shards_change_since": since,
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
