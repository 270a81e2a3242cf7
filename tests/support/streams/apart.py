"""An installation whose streams are on servers of their own, and the way to load it."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from ingest.contracts.placement.layout import Layout
from ingest.contracts.stream import SHARDS_KEY
from scripts.servers import redis_server
from tests.support.eventually import eventually
from tests.support.servers.cli import Result
from tests.support.servers.failover import edges
from tests.support.servers.installation import (
    Installation,
    an_installation,
    elsewhere,
)
from tests.support.servers.outage import cli_of
from tests.support.servers.valkey import Valkey, running_valkey
from tests.support.streams.cluster import Cluster
from workers.postgres.database import open_pool, transaction
from workers.stream.epochs import count_losses, sample, take_vanished

_CLICK = "/api/v1/track/click"
_PAGE = "https://yoursite.com/pricing?aff=PARTNER123"


@dataclass
class Load:
    """Clicks of several clients, each of a session of its own."""

    site: Installation
    accepted: list[str] = field(default_factory=list)
    #: How long each answer took, in seconds.
    seconds: list[float] = field(default_factory=list)
    #: How often each other answer came.
    refused: Counter[str] = field(default_factory=Counter)
    #: Sessions are numbered from here on.
    sent: int = 0
    _is_over: bool = False

    async def click(self) -> None:
        self.sent += 1
        session = f"s{self.sent}"
        edge = self.site.edges[self.sent % len(self.site.edges)]
        body = {"affiliate_url": _PAGE, "session_id": session}
        began = time.monotonic()
        answer = await edge.post(_CLICK, json=body, headers=elsewhere())
        self.seconds.append(time.monotonic() - began)
        if answer.status == 200:
            self.accepted.append(session)
        else:
            self.refused[f"{answer.status} {await answer.text()}"] += 1

    async def go_on(self, pause: float = 0.01) -> None:
        """One client, until `end`."""
        while not self._is_over:
            await self.click()
            await asyncio.sleep(pause)

    @asynccontextmanager
    async def running(self, clients: int = 6) -> AsyncIterator[None]:
        """Clients for the length of a block."""
        self._is_over = False
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(self.go_on())
            try:
                yield
            finally:
                self._is_over = True

    async def sends(self, more: int) -> None:
        """Clients until so many more were accepted."""
        async with self.running():
            await self.reaches(more)

    async def reaches(self, more: int) -> None:
        """Return when so many more were accepted."""
        goal = len(self.accepted) + more

        async def is_there() -> bool:
            return len(self.accepted) >= goal

        await eventually(is_there, within=120)


@dataclass(frozen=True)
class Apart:
    """The installation, and the numbers of its shards."""

    site: Installation
    layout: Layout

    async def run(self, *words: str) -> Result:
        """A command."""
        return await asyncio.to_thread(cli_of(self.site).run, *words)

    async def document(self, *words: str) -> Any:
        done = await self.run(*words, "--json")
        assert done.code in {0, 1}, done.err
        assert done.out, done.err
        return orjson.loads(done.out)

    async def settles(self, within: float = 150.0) -> dict[str, Any]:
        """What `verify` says once nothing is in flight or on a disk any more."""

        async def is_at_rest() -> bool:
            if await asyncio.to_thread(self.site.spooled):
                return False
            done = await self.run("status", "--json", "--window", "0")
            status = orjson.loads(done.out)
            # With 3 a server is still away.
            return done.code < 3 and status["is_exact"] and not status["in_flight"]

        await eventually(is_at_rest, within=within)
        found: dict[str, Any] = await self.document("verify")
        return found

    async def count(self) -> None:
        """What workers do every few seconds, and every minute, twice."""
        shards = self.layout.numbers
        async with (
            redis_server(cli_of(self.site).environment) as redis,
            open_pool(self.site.variables["DATABASE_URL"], size=1) as pool,
        ):
            for _ in range(2):
                async with pool.acquire() as connection:
                    await take_vanished(connection, redis)
                async with transaction(pool) as connection:
                    await sample(connection, redis, shards)
                async with transaction(pool) as connection:
                    await count_losses(connection, redis, shards)

    async def recorded(self) -> list[str]:
        """The sessions of the clicks, as often as they are recorded."""
        found = await self.site.rows(
            "select session from events where session is not null order by session"
        )
        return [session for (session,) in found]


@dataclass(frozen=True)
class Listed(Apart):
    """With the servers of its streams."""

    servers: Sequence[Valkey]

    def of(self, server: int) -> Sequence[int]:
        """The shards of one of the servers."""
        return self.layout.numbers[server :: len(self.servers)]


@asynccontextmanager
async def apart(
    redis_url: str, database_url: str, path: Path, servers: int = 3, **variables: str
) -> AsyncIterator[Listed]:
    """Home at `redis_url`, the streams on so many servers."""
    with ExitStack() as stack:
        found = [
            stack.enter_context(running_valkey("everysec", port=True))
            for _ in range(servers)
        ]
        given = {"STREAMS_URL": ",".join(each.url for each in found), **variables}
        async with an_installation(redis_url, database_url, path, **given) as site:
            yield Listed(site, await _layout(site), found)


@asynccontextmanager
async def on_cluster(
    redis_url: str, database_url: str, path: Path, cluster: Cluster, **variables: str
) -> AsyncIterator[Apart]:
    """Home at `redis_url`, the streams on a cluster."""
    given = {"STREAMS_URL": cluster.url, **variables}
    async with an_installation(redis_url, database_url, path, **given) as site:
        yield Apart(site, await _layout(site))


async def _layout(site: Installation) -> Layout:
    return Layout.recorded(await site.redis.get(SHARDS_KEY))


async def knows_epochs(there: Apart) -> bool:
    """Whether the edge has learnt how workers numbered the epoch of each shard."""
    told = await edges(there.site)
    return any(len(each["runs"]) == len(there.layout.numbers) for each in told)


async def is_reported(there: Apart, load: Load) -> bool:
    """Whether the ledger has as lost what was accepted and is not recorded."""
    await there.count()
    report = await there.document("verify")
    found = [row["found"] for row in report["mismatches"] if row["what"] == "lost"]
    lost = len(load.accepted) - len(await there.recorded())
    return 0 < lost == sum(found)
