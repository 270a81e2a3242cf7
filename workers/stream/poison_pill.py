"""Poison-pill isolation: finds the event that kills workers, and lets all others through.

The events of an entry that was delivered three times are suspect: workers died while they
had it. Each is processed alone, under a mark in Redis that is removed when the attempt ends,
however it ends. A mark that is still there was left by a process that died. After three
deaths the event goes to quarantine. An event that never was alone when a worker died stays
out of quarantine, however often it is delivered.

A worker that is killed while it waits for a server was not killed by the event. So the mark
is set only if Postgres would have let it write just before, and is removed when the attempt
takes long while the event loop still turns: then it waits.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final
from uuid import uuid4

from redis.asyncio import Redis
from typing_extensions import override

from ingest.contracts.encoding.envelopes import is_newer
from ingest.contracts.stream import alone_key
from ingest.contracts.telemetry import Log
from workers.model.batch import (
    Delivery,
    Entry,
    PausedError,
    Processor,
    Recorder,
    TransientError,
)
from workers.postgres.database import Pool, transaction
from workers.postgres.sql import statements
from workers.redis_io.connections import redis_errors

_SQL: Final = statements("stream/poison_pill")

#: From this delivery on an entry's events are processed alone.
_SUSPECT_FROM: Final = 3
#: An event that was processed alone at so many deaths has caused them.
_MAX_DEATHS: Final = 3
#: An attempt that takes longer while the loop turns waits for a server.
_PROCESSING_SECONDS: Final = 0.5

# A mark's value: the number of deaths, and the process that has the event now, if any. Marking
# again changes nothing, so a lost reply does no harm. What frees memory must also run when
# memory is full.
_MARK: Final = """#!lua flags=allow-oom
local deaths, holder = 0, ''
local mark = redis.call('HGET', KEYS[1], ARGV[1])
if mark then deaths, holder = string.match(mark, '^(%d+) (.*)$') end
deaths = tonumber(deaths)
if holder ~= '' and holder ~= ARGV[2] then deaths = deaths + 1 end
redis.call('HSET', KEYS[1], ARGV[1], deaths .. ' ' .. ARGV[2])
return deaths
"""

_UNMARK: Final = """#!lua flags=allow-oom
local mark = redis.call('HGET', KEYS[1], ARGV[1])
if not mark then return end
local deaths, holder = string.match(mark, '^(%d+) (.*)$')
if holder ~= ARGV[2] then return end
if ARGV[3] == 'done' or deaths == '0' then
    redis.call('HDEL', KEYS[1], ARGV[1])
else
    redis.call('HSET', KEYS[1], ARGV[1], deaths .. ' ')
end
"""


def batches(deliveries: Sequence[Delivery], size: int) -> list[Sequence[Delivery]]:
    """At most `size` unsuspicious events at a time; then each suspect alone."""
    suspects = [each for each in deliveries if _is_suspect(each)]
    others = deliveries
    if suspects:
        others = [each for each in deliveries if not _is_suspect(each)]
    parts = [others[start : start + size] for start in range(0, len(others), size)]
    return [*parts, *([each] for each in suspects)]


def _is_suspect(delivery: Delivery) -> bool:
    # An envelope of a later release is delivered again and again.
    return delivery.times >= _SUSPECT_FROM and not is_newer(delivery.payload)


class PoisonPillIsolation(Processor):
    """Passes batches on, suspects under a mark; turns unexpected errors into PausedError."""

    def __init__(self, inner: Recorder, redis: Redis, pool: Pool) -> None:
        self._inner = inner
        self._pool = pool
        self._process = uuid4().hex
        self._mark_it = redis.register_script(_MARK)
        self._unmark_it = redis.register_script(_UNMARK)

    @override
    async def process(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        try:
            if len(deliveries) == 1 and _is_suspect(deliveries[0]):
                return await self._alone(deliveries[0])
            return await self._inner.process(deliveries)
        except (TransientError, PausedError):
            raise
        except Exception as error:
            detail = f"{type(error).__name__}: {error}"
            raise PausedError("bug", detail) from error

    async def _alone(self, delivery: Delivery) -> Sequence[Delivery]:
        async with transaction(self._pool) as connection:
            await connection.execute(_SQL["tables_are_free"])
        deaths = await self._mark(delivery.entry)
        fate = "open"
        waiting = asyncio.create_task(self._unmark_late(delivery.entry))
        try:
            if deaths >= _MAX_DEATHS:
                done = await self._give_up(delivery, deaths)
            else:
                done = await self._inner.process([delivery])
            fate = "done"
        finally:
            waiting.cancel()
            with suppress(TransientError):
                await self._unmark(delivery.entry, fate)
        return done

    async def _give_up(self, delivery: Delivery, deaths: int) -> Sequence[Delivery]:
        await self._inner.give_up(delivery, f"{deaths} workers died over it")
        shard, entry = delivery.entry.shard, delivery.entry.stream_id
        Log().error("entry.given_up", shard=shard, entry=entry, deaths=deaths)
        return [delivery]

    async def _unmark_late(self, entry: Entry) -> None:
        await asyncio.sleep(_PROCESSING_SECONDS)
        with suppress(TransientError):
            await self._unmark(entry, "open")

    async def _mark(self, entry: Entry) -> int:
        """Mark the event as processed alone; the number of deaths so far."""
        with redis_errors():
            arguments = [_name(entry), self._process]
            deaths = await self._mark_it(keys=[alone_key(entry.shard)], args=arguments)
        return int(deaths)

    async def _unmark(self, entry: Entry, fate: str) -> None:
        with redis_errors():
            arguments = [_name(entry), self._process, fate]
            await self._unmark_it(keys=[alone_key(entry.shard)], args=arguments)


def _name(entry: Entry) -> str:
    name = f"{entry.epoch}:{entry.stream_id}"
    return f"{name}:{entry.ordinal}" if entry.ordinal else name
