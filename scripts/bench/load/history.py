"""An archive of events that nobody has recorded, and live events beside it.

The archive is what a lost Redis leaves: segments of epochs that ended. Live events go straight
into the streams, as an edge would append them.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from ingest.contracts.directory import LinkRecord
from ingest.contracts.envelope import encode
from ingest.contracts.stream import FIELD, events_key, shard_of
from scripts.bench.environment.servers import SHARDS
from scripts.bench.load.envelopes import envelopes
from scripts.servers import Connection
from scripts.sql import statements
from workers.archive.writer import SegmentWriter
from workers.model.batch import Delivery, Entry

_SQL: Final = statements("bench/replay")
_AT_ONCE: Final = 1000
#: As a worker ends its segments.
_SEGMENT: Final = 100_000
_TICK_SECONDS: Final = 0.01
_ENDLESS: Final = 1 << 62


async def archive(
    connection: Connection, directory: Path, links: Sequence[LinkRecord], events: int
) -> list[int]:
    """Write so many clicks as segments; the numbers of the epochs that they are of."""
    epochs = [
        await connection.fetchval(_SQL["epoch"], shard, _of(events, shard))
        for shard in range(SHARDS)
    ]
    for shard, epoch in enumerate(epochs):
        left = _deliveries(links, _of(events, shard), shard, epoch)
        while page := list(islice(left, _SEGMENT)):
            writer = SegmentWriter(directory, "bench", shard, epoch)
            for start in range(0, len(page), _AT_ONCE):
                writer.add(page[start : start + _AT_ONCE])
            writer.finish()
    return epochs


def _of(events: int, shard: int) -> int:
    """Shards have equally many, the first ones those that are left over."""
    return events // SHARDS + (shard < events % SHARDS)


def _deliveries(
    links: Sequence[LinkRecord], count: int, shard: int, epoch: int
) -> Iterator[Delivery]:
    at = unix_ms()
    clicks = envelopes(links, count, clock=lambda: at, new_id=uuid7)
    for number, click in enumerate(clicks):
        yield Delivery(Entry.of(epoch, shard, at, number), encode(click))


async def fire(
    redis: Redis, links: Sequence[LinkRecord], rate: int, stop: asyncio.Event
) -> int:
    """Append clicks, so many a second, until told to stop; how many there were."""
    clicks = envelopes(links, _ENDLESS, clock=unix_ms, new_id=uuid7)
    sent, began = 0, time.monotonic()
    while not stop.is_set():
        due = int((time.monotonic() - began) * rate) - sent
        async with redis.pipeline(transaction=False) as pipe:
            for click in islice(clicks, due):
                key = events_key(shard_of(click.id, SHARDS))
                pipe.xadd(key, {FIELD: encode(click)})
            await pipe.execute()
        sent += due
        await asyncio.sleep(_TICK_SECONDS)
    return sent


def unix_ms() -> int:
    return time.time_ns() // 1_000_000
