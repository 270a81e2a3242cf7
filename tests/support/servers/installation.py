"""A seeded installation: two edges in this process, and a worker process when asked for."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from redis.asyncio import BlockingConnectionPool, Redis

from ingest.app import Externals, build
from ingest.contracts.encoding.envelopes import decode
from ingest.contracts.envelope import Envelope
from ingest.contracts.stream import FIELD, events_key, split
from ingest.redis_io.primary import pool_to
from ingest.settings import EdgeSettings
from scripts.environment import Environment
from scripts.services.maintain.seed import plant
from scripts.services.observe import spools
from tests.support.directory import miscounted
from tests.support.environment import inherited
from tests.support.eventually import eventually
from tests.support.servers.cli import NOW, SECRET
from workers.publish.publisher import publish_if_missing

Client = TestClient[web.Request, web.Application]

ROOT = Path(__file__).resolve().parents[3]
EDGES = 2
_PATIENT_SECONDS = 10.0

_ADDRESSES = count()


def elsewhere() -> dict[str, str]:
    """The header of a caller whose address nobody had before."""
    number = next(_ADDRESSES)
    return {"X-Forwarded-For": f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"}


@dataclass(frozen=True, slots=True)
class Installation:
    """The demo workspace with everything around it. Its directory is published."""

    variables: dict[str, str]
    edges: list[Client]
    redis: Redis
    database: asyncpg.Connection
    workers: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def start_worker(self) -> None:
        """Let what is in the stream be recorded, from now on."""
        worker = subprocess.Popen(
            [sys.executable, "-m", "workers"],
            env={**inherited(), **self.variables},
            cwd=ROOT,
            stderr=subprocess.DEVNULL,
        )
        self.workers.append(worker)

    def stop_workers(self) -> None:
        """Kill the workers that run."""
        _end(self.workers)
        self.workers.clear()

    async def appended(self) -> list[Envelope]:
        """What edges put into the stream, in order of ids; without what was seeded."""
        events = [
            event
            for shard in range(4)
            for _, fields in await self.redis.xrange(events_key(shard))
            for event in split(fields[FIELD])
        ]
        found = sorted(map(decode, events), key=lambda envelope: envelope.id)
        return [envelope for envelope in found if envelope.request.dialect != "import"]

    async def rests(self) -> None:
        """Wait until every entry is recorded; the books must be right then."""

        async def recorded() -> bool:
            # An edge whose Redis was slow, or away, has it on its disk for a moment.
            if await asyncio.to_thread(self.spooled):
                return False
            in_stream = [await self.redis.xlen(events_key(n)) for n in range(4)]
            settled = await self.database.fetchval(
                "select sum(recorded + repeats + quarantined - beyond_first) from ledger"
            )
            return bool(sum(in_stream) == settled)

        await eventually(recorded)
        assert [] == await miscounted(self.database)

    def spooled(self) -> int:
        """How many events wait on the disks of the edges."""
        data = Path(self.variables["REFTIDE_DATA"])
        return sum(spools.count(_home(data, number)) for number in range(EDGES))

    async def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self.database.fetch(query, *values)]


@asynccontextmanager
async def an_installation(
    redis_url: str, database_url: str, path: Path, **changes: str
) -> AsyncIterator[Installation]:
    """The installation that the demo workspace makes of an empty Redis and database."""
    variables = {
        "REDIS_URL": redis_url,
        "DATABASE_URL": database_url,
        "REFTIDE_SECRET": SECRET,
        "REFTIDE_DATA": str(path),
        "REFTIDE_TRUSTED_PROXIES": "127.0.0.0/8",
        **changes,
    }
    await plant(Environment(variables, lambda: NOW))
    async with AsyncExitStack() as stack:
        pool = pool_to(
            redis_url,
            kind=BlockingConnectionPool,
            connect_within=5.0,
            socket_timeout=_PATIENT_SECONDS,
        )
        redis = await stack.enter_async_context(Redis.from_pool(pool))
        database = await asyncpg.connect(database_url)
        stack.push_async_callback(database.close)
        await publish_if_missing(database, redis)
        edges = [
            await stack.enter_async_context(an_edge(variables, _home(path, number)))
            for number in range(EDGES)
        ]
        found = Installation(variables, edges, redis, database)
        stack.callback(_end, found.workers)
        yield found


def _home(data: Path, number: int) -> Path:
    """The data directory of an edge: each is on a machine of its own."""
    return data / f"edge-{number}"


@asynccontextmanager
async def an_edge(variables: dict[str, str], path: Path) -> AsyncIterator[Client]:
    """An edge in this process, with a data directory of its own."""
    settings = EdgeSettings.load({**variables, "REFTIDE_DATA": str(path)})
    server = TestServer(build(settings, Externals()))
    await server.start_server(auto_decompress=False)
    async with TestClient(server) as client:
        yield client


def _end(workers: list["subprocess.Popen[bytes]"]) -> None:
    for worker in workers:
        worker.kill()
        worker.wait()
