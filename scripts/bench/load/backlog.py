"""A backlog in the streams, and how fast worker processes record it.

The workers run, and have recorded a few clicks, before they are stopped; then the streams
are filled. What is timed is from when they go on to the last commit.
"""

import asyncio
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Final

from ingest.contracts.directory import LinkRecord
from scripts.bench.environment.processes import worker_names, workers
from scripts.bench.environment.servers import SECONDS, BenchServers
from scripts.bench.load.events import append, entries, envelopes
from scripts.errors import Unreachable
from scripts.sql import statements

_SQL: Final = statements("bench/environment/bench")
_LOOK_AGAIN_SECONDS: Final = 0.005
#: Clicks by every user agent: what workers learn of these outlives a batch.
_WARM: Final = 2000
#: A run that is slower than this is broken, in events a second.
_LEAST_RATE: Final = 500


def recording_rate(
    servers: BenchServers, links: Sequence[LinkRecord], events: int, count: int = 1
) -> float:
    """Events a second that so many workers record. Raises Unreachable where not all are."""
    clicks = envelopes(links)
    warm = list(entries(islice(clicks, _WARM)))
    # Made before, so that the workers are not stopped for long: what they wait for must
    # not look late to them.
    made = list(entries(islice(clicks, events)))
    with workers(servers, *worker_names(count)) as processes:
        asyncio.run(_recorded(servers, warm))
        with _stopped([process.pid for process in processes]):
            goal = asyncio.run(_filled(servers, made))
        began = time.perf_counter()
        asyncio.run(_await_recorded(servers, goal))
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


async def _recorded(servers: BenchServers, made: Sequence[tuple[str, bytes]]) -> None:
    await _await_recorded(servers, await _filled(servers, made))


async def _filled(servers: BenchServers, made: Sequence[tuple[str, bytes]]) -> int:
    """Append entries; how many events the ledger counts when they are recorded."""
    async with servers.redis() as redis, servers.postgres() as connection:
        before: int = await connection.fetchval(_SQL["recorded"])
        await append(redis, made)
        await connection.execute(_SQL["settle"])
        return before + len(made)


async def _await_recorded(servers: BenchServers, goal: int) -> None:
    deadline = time.monotonic() + SECONDS + goal / _LEAST_RATE
    async with servers.postgres() as connection:
        while (found := await connection.fetchval(_SQL["recorded"])) < goal:
            if time.monotonic() > deadline:
                raise Unreachable(
                    f"The workers recorded {found:,} of {goal:,} events in time.",
                    "it is a bug: see what `reftide worker` says of such clicks.",
                )
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
