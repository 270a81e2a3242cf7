"""`reftide bench hot-link`: all traffic on one link against the same over a thousand.

Workers are processes, as they run; the streams are filled while they are stopped, and what
is timed is from when they go on to the last commit.
"""

import asyncio
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final

from ingest.contracts.directory import LinkRecord
from scripts.bench.environment.contenders import cores, workers_of
from scripts.bench.environment.runs import Result, Tell, paired
from scripts.bench.environment.servers import SECONDS, SHARDS, BenchServers
from scripts.bench.load.drain import LEAST_RATE, append, entries
from scripts.bench.load.end_to_end import empty
from scripts.errors import Unreachable
from scripts.servers import Connection, postgres, redis_server
from scripts.sql import statements

_SQL: Final = statements("bench/environment/bench")
_LOOK_AGAIN_SECONDS: Final = 0.01

#: How many links there have to be.
LINKS: Final = 1000


def measure(
    servers: BenchServers,
    *,
    pairs: int,
    events: int,
    workers: int,
    tell: Tell,
) -> Result:
    """Events a second that so many workers record, `pairs` times so many clicks."""
    found = paired(
        partial(_rate, servers, servers.links[:1], events, workers),
        partial(_rate, servers, servers.links, events, workers),
        pairs,
        tell,
    )
    conditions = {
        "baseline": f"the same clicks, spread over {len(servers.links)} links",
        "events": events,
        "workers": workers,
        "shards": SHARDS,
        "cores": cores(),
    }
    return Result(name="hot-link", unit="events/s", pairs=found, conditions=conditions)


def _rate(
    servers: BenchServers, links: Sequence[LinkRecord], events: int, workers: int
) -> float:
    empty(servers)
    # Made before, so that the workers are not stopped for long: what they wait for must
    # not look late to them.
    made = list(entries(links, events))
    with workers_of(servers, workers) as pids:
        with _stopped(pids):
            asyncio.run(_filled(servers, made))
        began = time.perf_counter()
        asyncio.run(_recorded(servers, events))
        return events / (time.perf_counter() - began)


@contextmanager
def _stopped(pids: Sequence[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def _filled(servers: BenchServers, made: Sequence[tuple[str, bytes]]) -> None:
    async with (
        redis_server(servers.environment) as redis,
        postgres(servers.environment, seconds=SECONDS) as connection,
    ):
        await append(redis, made)
        await connection.execute(_SQL["settle"])


async def _recorded(servers: BenchServers, events: int) -> None:
    deadline = time.monotonic() + SECONDS + events / LEAST_RATE
    async with postgres(servers.environment, seconds=SECONDS) as connection:
        while (found := await recorded(connection)) < events:
            if time.monotonic() > deadline:
                raise Unreachable(
                    f"The workers recorded {found:,} of {events:,} events in time.",
                    "it is a bug: see what `reftide worker` says of such clicks.",
                )
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def recorded(connection: Connection) -> int:
    """How many events the ledger counts."""
    count: int = await connection.fetchval(_SQL["recorded"])
    return count
