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
from scripts.bench.environment.processes import workers
from scripts.bench.environment.servers import BenchServers
from scripts.bench.load.end_to_end import await_clicks, clicks
from scripts.bench.load.events import append, entries, envelopes
from scripts.sql import statements

_SQL: Final = statements("bench/environment/bench")
#: Clicks by every user agent: what workers learn of these outlives a batch.
_WARM: Final = 2000


def recording_rate(
    servers: BenchServers, links: Sequence[LinkRecord], events: int, count: int = 1
) -> float:
    """Events a second that so many workers record. Raises Unreachable where not all are."""
    made_up = envelopes(links)
    warm = list(entries(islice(made_up, _WARM)))
    # Made before, so that the workers are not stopped for long: what they wait for must
    # not look late to them.
    made = list(entries(islice(made_up, events)))
    with workers(servers, count) as pids:
        asyncio.run(_recorded(servers, asyncio.run(_filled(servers, warm))))
        with _stopped(pids):
            wanted = asyncio.run(_filled(servers, made))
        began = time.perf_counter()
        asyncio.run(_recorded(servers, wanted))
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


async def _filled(servers: BenchServers, made: Sequence[tuple[str, bytes]]) -> int:
    """Append entries of clicks; how many are counted when these are recorded."""
    async with servers.redis() as redis, servers.postgres() as connection:
        before = await clicks(connection)
        await append(redis, made)
        await connection.execute(_SQL["settle"])
        return before + len(made)


async def _recorded(servers: BenchServers, wanted: int) -> None:
    async with servers.postgres() as connection:
        await await_clicks(connection, wanted, "Reftide")
