"""From the first request to the last row.

A run begins with empty servers and processes that have just been started, and a second of
load that is not counted. It ends when every event that was answered with 200 is committed:
a backlog that is left behind counts.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Final

from scripts.bench.environment.processes import Contender, Start
from scripts.bench.environment.servers import BenchServers
from scripts.bench.load.load import Load, Sent
from scripts.errors import Unreachable
from scripts.servers import Connection
from scripts.sql import statements
from workers.publish.publisher import publish_if_missing

_SQL: Final = statements("bench/environment/bench")
_LOOK_AGAIN_SECONDS: Final = 0.01
#: Without one more row for so long, the rest will not come.
_PATIENCE_SECONDS: Final = 20.0
_WARM_SECONDS: Final = 1.0


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


def through(servers: BenchServers, start: Start, load: Load, seconds: float) -> Run:
    """One run from nothing. Raises Unreachable where not every event is recorded."""
    asyncio.run(empty(servers))
    with start(servers) as contender:
        warm(servers, contender, load)
        return once(servers, contender, load, seconds)


def warm(servers: BenchServers, contender: Contender, load: Load) -> None:
    once(servers, contender, load, _WARM_SECONDS)


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


async def await_clicks(connection: Connection, wanted: int, who: str) -> None:
    """Wait until so many are counted. Raises Unreachable where no more come."""
    found, moved = 0, time.monotonic()
    while found < wanted:
        now = await clicks(connection)
        if now > found:
            found, moved = now, time.monotonic()
        elif time.monotonic() - moved > _PATIENCE_SECONDS:
            raise Unreachable(
                f"Of {wanted:,} events that are durable, {who} recorded {found:,}.",
                "it is a bug if it comes back on a calmer machine.",
            )
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def clicks(connection: Connection) -> int:
    """How many are counted."""
    found: int = await connection.fetchval(_SQL["clicks"])
    return found
