"""How fast events are recorded: from the first request to the last row, or off a backlog.

A run from end to end begins with empty servers, processes that have just been started, and
a second of load that is not counted. It ends when every event that was answered with 200 is
committed: a backlog that is left behind counts.

A backlog waits in the streams for workers that run, have recorded a few clicks and are
stopped. What is timed is from when they go on to the last commit.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

from redis.asyncio import Redis

from ingest.contracts.directory import LinkRecord
from scripts.bench.environment.processes import (
    NOTHING,
    Contender,
    Start,
    stopped,
    workers,
)
from scripts.bench.environment.servers import BenchServers
from scripts.bench.environment.usage import cpu_seconds, tree
from scripts.bench.load.events import append, entries, envelopes
from scripts.bench.load.load import Load, Sent
from scripts.errors import Unreachable
from scripts.servers import Connection
from scripts.sql import statements
from workers.publish.publisher import publish_if_missing
from workers.redis_io.streams import servers_of

_SQL: Final = statements("bench/environment/bench")
_LOOK_AGAIN_SECONDS: Final = 0.01
#: Without one more row for so long, the rest will not come.
_PATIENCE_SECONDS: Final = 20.0
#: Clicks by every user agent: what workers learn of these outlives a batch.
_WARM: Final = 2000
_WARM_SECONDS: Final = 1.0
_CALM_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Run:
    """What came of one: events recorded, in how many seconds, and how they were sent."""

    events: int
    seconds: float
    sent: Sent

    @property
    def rate(self) -> float:
        """Raises Unreachable where nothing was recorded."""
        if not self.events:
            raise Unreachable(
                "No event was answered in time.", "ask for more --seconds."
            )
        return self.events / self.seconds


class Backlog(NamedTuple):
    """Events that workers recorded, in so many seconds, and in so many of processors."""

    events: int
    seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        return self.events / self.seconds

    @property
    def per_cpu_second(self) -> float:
        return self.events / self.cpu_seconds


#: What workers are started with to reach PostgreSQL through a pooler, and its process ids.
Pooler = tuple[Mapping[str, str], Sequence[int]]


def through(servers: BenchServers, start: Start, load: Load, seconds: float) -> Run:
    """One run from nothing. Raises Unreachable where not every event is recorded."""
    asyncio.run(empty(servers))
    with start(servers) as contender:
        warm(servers, contender, load)
        return once(servers, contender, load, seconds)


def warm(servers: BenchServers, contender: Contender, load: Load) -> None:
    """A run that does not count, and what it left behind."""
    once(servers, contender, load, _WARM_SECONDS)
    asyncio.run(_calm(servers))


async def _calm(servers: BenchServers) -> None:
    """Wait until no more clicks come: of a load that ended, requests are still out."""
    found = -1
    async with servers.postgres() as connection:
        while (now := await clicks(connection)) > found:
            found = now
            await asyncio.sleep(_CALM_SECONDS)


def once(
    servers: BenchServers, contender: Contender, load: Load, seconds: float
) -> Run:
    """One run against what is already there and running."""
    return asyncio.run(_once(servers, contender, load, seconds))


async def empty(servers: BenchServers) -> None:
    """Nothing recorded, nothing in Redis but the directory."""
    async with servers.postgres() as connection:
        await forget(connection)
    await publish(servers)


async def publish(servers: BenchServers) -> None:
    """Nothing in Redis but the directory."""
    async with servers.postgres() as connection, servers.redis() as redis:
        await redis.flushdb()
        for server in servers_of(redis, servers.environment.layout().numbers):
            await server.client.flushdb()
        await publish_if_missing(connection, redis)


async def forget(connection: Connection) -> None:
    """Nothing recorded."""
    for step in ("forget", "zero_links", "zero_partners", "tidy"):
        await connection.execute(_SQL[step])


async def _once(
    servers: BenchServers, contender: Contender, load: Load, seconds: float
) -> Run:
    async with servers.postgres() as connection:
        await connection.execute(_SQL["settle"])
        before = await clicks(connection)
        sent = await asyncio.to_thread(load.send, contender.port, seconds)
        wanted = sent.requests * load.what.events
        ended = sent.ended
        if await clicks(connection) - before < wanted:
            await await_clicks(connection, before + wanted, contender.name)
            ended = time.monotonic()
        return Run(wanted, ended - sent.began, sent)


async def await_clicks(
    connection: Connection, wanted: int, who: str, counted: str = "clicks"
) -> None:
    """Wait until so many are counted. Raises Unreachable where no more come."""
    found, moved = 0, time.monotonic()
    while found < wanted:
        now = await clicks(connection, counted)
        if now > found:
            found, moved = now, time.monotonic()
        elif time.monotonic() - moved > _PATIENCE_SECONDS:
            raise Unreachable(
                f"Of {wanted:,} {counted}, {who} recorded {found:,}, and no more came.",
                "it is a bug if it comes back on a calmer machine.",
            )
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def clicks(connection: Connection, counted: str = "clicks") -> int:
    """How many are counted; `counted` may be `leads`, sales included."""
    found: int = await connection.fetchval(_SQL[counted])
    return found


def recording_rate(
    servers: BenchServers, links: Sequence[LinkRecord], events: int, count: int = 1
) -> float:
    """Events a second that so many workers record. Raises Unreachable where not all are."""
    return recorded(servers, links, events, count).rate


def recorded(
    servers: BenchServers,
    links: Sequence[LinkRecord],
    events: int,
    count: int = 1,
    behind: Pooler | None = None,
) -> Backlog:
    """A backlog that so many workers record. Raises Unreachable where not all is."""
    made_up = envelopes(links)
    layout = servers.environment.layout()
    warm = list(entries(islice(made_up, _WARM), layout))
    # Made before, so that the workers are not stopped for long: what they wait for must
    # not look late to them.
    made = list(entries(islice(made_up, events), layout))
    variables, pids = behind or (NOTHING, [])
    with workers(servers, count, variables) as ours:
        roots = [*ours, *pids, *servers.pids.values()]
        return asyncio.run(_timed(servers, (ours, roots), warm, made))


async def _timed(
    servers: BenchServers,
    pids: tuple[Sequence[int], Sequence[int]],
    warm: Sequence[tuple[str, bytes]],
    made: Sequence[tuple[str, bytes]],
) -> Backlog:
    async with servers.postgres() as connection, servers.redis() as redis:
        wanted = await clicks(connection) + len(warm)
        await append(redis, warm)
        await await_clicks(connection, wanted, "Reftide")
        return await backlog(connection, redis, pids, made)


async def backlog(
    connection: Connection,
    redis: Redis,
    pids: tuple[Sequence[int], Sequence[int]],
    made: Sequence[tuple[str, bytes]],
    counted: str = "clicks",
) -> Backlog:
    """A backlog that workers record, who stand still while it comes to be.

    `pids` are the workers', and of all whose processor time counts. Raises Unreachable where
    not all is recorded.
    """
    stopping, counting = pids
    with stopped(stopping):
        wanted = await clicks(connection, counted) + len(made)
        await append(redis, made)
        await connection.execute(_SQL["settle"])
        spent = cpu_seconds(tree(counting))
    began = time.perf_counter()
    await await_clicks(connection, wanted, "Reftide", counted)
    took = time.perf_counter() - began
    return Backlog(len(made), took, cpu_seconds(tree(counting)) - spent)
