"""From the first request to the last row.

A run begins with empty servers and processes that have just been started, and a second of
load that is not counted. It ends when every event that was answered with 200 is committed:
a backlog that is left behind counts.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from scripts.bench.environment.contenders import Contender, Start
from scripts.bench.environment.servers import SECONDS, BenchServers
from scripts.bench.load.load import Sent
from scripts.errors import Unreachable
from scripts.servers import Connection, postgres, redis_server
from scripts.sql import statements
from workers.publish.publisher import publish_if_missing

_SQL: Final = statements("bench/environment/bench")
_LOOK_AGAIN_SECONDS: Final = 0.02
#: Without one more row for so long, the rest will not come.
_PATIENCE_SECONDS: Final = 20.0
_WARM_SECONDS: Final = 1.0

#: Sends requests to a port for so many seconds.
Send = Callable[[int, float], Sent]


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


def through(
    servers: BenchServers,
    start: Start,
    send: Send,
    seconds: float,
    per_request: int = 1,
) -> Run:
    """One run from nothing. Raises Unreachable where not every event is recorded."""
    empty(servers)
    with start(servers) as contender:
        warm(servers, contender, send, per_request)
        return once(servers, contender, send, seconds, per_request)


def warm(
    servers: BenchServers, contender: Contender, send: Send, per_request: int = 1
) -> None:
    once(servers, contender, send, _WARM_SECONDS, per_request)


def once(
    servers: BenchServers,
    contender: Contender,
    send: Send,
    seconds: float,
    per_request: int = 1,
) -> Run:
    """One run against what is already there and running."""
    load = partial(send, contender.port, seconds)
    return asyncio.run(_once(servers, contender, load, per_request))


def empty(servers: BenchServers) -> None:
    """Nothing recorded, nothing in Redis but the directory."""
    asyncio.run(_empty(servers))


async def _empty(servers: BenchServers) -> None:
    async with (
        postgres(servers.environment, seconds=SECONDS) as connection,
        redis_server(servers.environment) as redis,
    ):
        await forget(connection)
        await redis.flushdb()
        await publish_if_missing(connection, redis)


async def forget(connection: Connection) -> None:
    """Nothing recorded."""
    for step in ("forget", "zero_links", "zero_partners", "tidy"):
        await connection.execute(_SQL[step])


async def _once(
    servers: BenchServers,
    contender: Contender,
    load: Callable[[], Sent],
    per_request: int,
) -> Run:
    async with postgres(servers.environment, seconds=SECONDS) as connection:
        await connection.execute(_SQL["settle"])
        before = await _clicks(connection)
        sent = await asyncio.to_thread(load)
        wanted = sent.requests * per_request
        ended = sent.ended
        if await _clicks(connection) - before < wanted:
            await _recorded(connection, contender, before, wanted)
            ended = time.monotonic()
        return Run(wanted, ended - sent.began, sent)


async def _recorded(
    connection: Connection, contender: Contender, before: int, wanted: int
) -> None:
    """Wait for so many more clicks."""
    found, moved = 0, time.monotonic()
    while found < wanted:
        now = await _clicks(connection) - before
        if now > found:
            found, moved = now, time.monotonic()
        elif time.monotonic() - moved > _PATIENCE_SECONDS:
            raise Unreachable(
                f"Of {wanted:,} events that were answered with 200, {contender.name}"
                f" recorded {found:,}.",
                "it is a bug if it comes back on a calmer machine.",
            )
        else:
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def _clicks(connection: Connection) -> int:
    clicks: int = await connection.fetchval(_SQL["clicks"])
    return clicks
