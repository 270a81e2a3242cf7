"""Samples the installation's metrics from Redis and PostgreSQL.

Only workers with an admin port sample them.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf, nan
from typing import Final

from redis.asyncio import Redis

from ingest.contracts.metrics import installation as figures
from ingest.contracts.stream import ARCHIVE_GROUP, EntryId, events_key
from ingest.contracts.variables import QUARANTINE_ROWS
from workers.model.batch import TransientError
from workers.postgres.database import Pool, transaction
from workers.postgres.sql import statements
from workers.quarantine.budget import LEVELS, largest_shares
from workers.redis_io.connections import redis_errors
from workers.redis_io.stream_state import (
    COUNT_LIMIT,
    Lag,
    StreamState,
    lag_of,
    read_stream,
)
from workers.redis_io.streams import servers_of
from workers.stream.consumer import is_set_within
from workers.stream.liveness import live_workers

_SQL: Final = statements("postgres/checkup")
_EVERY_SECONDS: Final = 5.0


@dataclass(kw_only=True)
class InstallationSampler:
    """Reads both servers; a failed sample leaves the last figures and their age.

    `clock` is in Unix milliseconds.
    """

    pool: Pool
    redis: Redis
    shards: Sequence[int]
    clock: Callable[[], int]
    quarantine_rows: int = QUARANTINE_ROWS
    #: When each server last answered, and the last figures that are of both.
    status: dict[str, object] = field(
        default_factory=lambda: {
            "redis_answered_at": None,
            "postgres_answered_at": None,
            "last": None,
        }
    )

    async def keep_sampling(self, stop: asyncio.Event) -> None:
        """Sample until stopped."""
        while not stop.is_set():
            await self.sample()
            await is_set_within(stop, _EVERY_SECONDS)

    async def sample(self) -> None:
        """Read both servers once, if they answer, and set the metrics."""
        streams = None
        with suppress(TransientError):
            streams = await self._read_redis()
        with suppress(TransientError):
            await self._read_postgres()
            if streams is not None:
                await self._read_ledger(streams)
                figures.SAMPLED.set(self.clock() / 1000)

    async def _read_redis(self) -> Sequence[StreamState]:
        with redis_errors():
            found = [await read_stream(self.redis, shard) for shard in self.shards]
            streams = [stream for stream in found if stream is not None]
            figures.WORKERS_ALIVE.set(len(await live_workers(self.redis)))
            used, limit = await _fullest(self.redis, self.shards)
            behind = [await _archive_behind(self.redis, stream) for stream in streams]
        self.status["redis_answered_at"] = self.clock()
        figures.REDIS_BYTES.set(used)
        figures.REDIS_LIMIT.set(limit)
        figures.ARCHIVE_BEHIND.set(max(behind, default=0.0))
        for stream in streams:
            _export(stream, _lag(stream))
        return streams

    async def _read_postgres(self) -> None:
        async with transaction(self.pool) as connection:
            shares = await largest_shares(connection, self.quarantine_rows)
            kept = await connection.fetch(_SQL["quarantine"])
            figures.REPLAY_REMAINING.set(await connection.fetchval(_SQL["replays"]))
        self.status["postgres_answered_at"] = self.clock()
        for reason, entries in kept:
            figures.QUARANTINE_OPEN.labels(reason).set(entries)
        for level in LEVELS:
            ratio = (
                each.kept / max(1, each.most) for each in shares if each.level == level
            )
            figures.QUARANTINE_SHARE.labels(level).set(next(ratio, 0.0))

    async def _read_ledger(self, streams: Sequence[StreamState]) -> None:
        lags = [_lag(stream) for stream in streams]
        accounts = await _export_ledger(self.pool, streams, lags)
        lag_seconds = max((lag.seconds for lag in lags), default=0.0)
        at = {"at": self.clock(), "lag_seconds": lag_seconds}
        self.status["last"] = at | accounts


async def _fullest(redis: Redis, shards: Sequence[int]) -> tuple[int, int]:
    """The memory in bytes, used and allowed, of the server that has the least left."""
    found = [await each.client.info("memory") for each in servers_of(redis, shards)]
    sizes = [(int(each["used_memory"]), int(each["maxmemory"])) for each in found]
    return max(sizes, key=lambda size: (size[0] / (size[1] or inf), size[0]))


async def _archive_behind(redis: Redis, stream: StreamState) -> float:
    """How many seconds the oldest entry has waited that no segment has; 0 without archive."""
    group = stream.groups.get(ARCHIVE_GROUP)
    if group is None:
        return 0.0
    oldest = group.oldest_pending
    if oldest is None:
        # Of what was not read yet.
        key, after = events_key(stream.shard), f"({group.delivered}"
        first = await redis.xrange(key, min=after, count=1)
        oldest = EntryId.of(first[0][0]) if first else None
    return max(0.0, (stream.at_ms - oldest.ms) / 1000) if oldest else 0.0


def _lag(stream: StreamState) -> Lag:
    """The lag; a backlog that is too long to count is taken from Redis' counters."""
    lag, read = lag_of(stream), stream.recorder.read
    if stream.undelivered < COUNT_LIMIT or read is None:
        return lag
    unread = max(COUNT_LIMIT, stream.added - read)
    return lag._replace(undelivered=min(unread, stream.length))


def _export(stream: StreamState, lag: Lag) -> None:
    shard = stream.shard
    figures.LAG_SECONDS.labels(shard).set(lag.seconds)
    figures.LAG_ENTRIES.labels(shard).set(lag.undelivered + lag.pending)
    figures.PENDING_ENTRIES.labels(shard).set(lag.pending)
    figures.PENDING_SECONDS.labels(shard).set(lag.pending_seconds)
    figures.STREAM_ENTRIES.labels(shard).set(stream.length)


async def _export_ledger(
    pool: Pool, streams: Sequence[StreamState], lags: Iterable[Lag]
) -> dict[str, float]:
    """Set the metrics of the ledger; its accounts."""
    live = [stream.epoch for stream in streams if stream.epoch is not None]
    async with transaction(pool) as connection:
        (ledger,) = await connection.fetch(_SQL["ledger"])
        beyond = await connection.fetch(_SQL["beyond_first"])
        past = await connection.fetchval(_SQL["past"], live)
    # Redis counts entries; the ledger and the edges know what they have beyond one event.
    known = sum(row["kept"] for row in beyond)
    open_beyond = sum(
        max(0, row["appended"] - row["kept"]) for row in beyond if row["epoch"] in live
    )
    entries_in_flight = sum(lag.undelivered + lag.pending for lag in lags)
    accounts = {
        "accepted": past
        + sum(stream.added for stream in streams)
        + known
        + open_beyond,
        **ledger,
        "in_flight": entries_in_flight + open_beyond if entries_in_flight else 0,
    }
    for account, events in accounts.items():
        figures.LEDGER.labels(account).set(events)
    is_counted = all(stream.undelivered < COUNT_LIMIT for stream in streams)
    settled = sum(accounts.values()) - accounts["accepted"]
    figures.BALANCE.set(accounts["accepted"] - settled if is_counted else nan)
    return accounts
