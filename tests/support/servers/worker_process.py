"""`python -m workers` as a process beside a test: a server, a database and workers to start."""

import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import asyncpg
import orjson
from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from ingest.contracts.encoding.envelopes import encode
from ingest.contracts.envelope import Kind
from ingest.contracts.ids import millis
from ingest.contracts.stream import FIELD, events_key
from tests.support.envelopes import an_envelope
from tests.support.environment import inherited
from tests.support.eventually import eventually
from tests.support.servers.valkey import Valkey
from workers.postgres.database import Connection
from workers.redis_io.connections import REDIS_ERRORS, for_jobs

ROOT = Path(__file__).resolve().parents[3]
GRACE_SECONDS = 10.0
STREAM = events_key(0)


class Worker:
    """A worker process and what it logged."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "workers"],
                env=dict(environment),
                cwd=ROOT,
                stderr=stream,
            )

    @property
    def output(self) -> str:
        return self._log.read_text()

    @property
    def events(self) -> list[str]:
        lines = self.output.splitlines()
        return [orjson.loads(line)["event"] for line in lines if line.startswith("{")]

    async def says(self, event: str, *, within: float = 90.0) -> None:
        async def said() -> bool:
            assert self.process.poll() in (None, 0), self.output
            return event in self.events

        await eventually(said, within=within)

    async def ends(self, *, within: float = GRACE_SECONDS) -> int:
        async def ended() -> bool:
            return self.process.poll() is not None

        await eventually(ended, within=within)
        return self.process.returncode

    async def stops(self, *, within: float = GRACE_SECONDS) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await self.ends(within=within)


@dataclass(frozen=True, slots=True)
class Site:
    """A server, a database with a link, and workers to start."""

    valkey: Valkey
    redis: Redis
    database: Connection
    link: UUID
    start: Callable[..., Worker]

    async def add_click(self) -> None:
        click = uuid7()
        envelope = an_envelope(
            id=click,
            kind=Kind.CLICK,
            dialect="affitor",
            at=millis(click),
            link_id=self.link,
            namespaces=("-",),
            code="SPRING",
        )
        await self.redis.xadd(STREAM, {FIELD: encode(envelope)})

    async def takes_a_click(self) -> bool:
        """Whether the server, which was away, takes one."""
        try:
            await self.add_click()
        except REDIS_ERRORS:
            return False
        return True

    async def has_recorded(self, count: int) -> None:
        async def recorded() -> bool:
            found = await self.database.fetchval("select count(*) from events")
            return bool(count == found)

        await eventually(recorded)

    async def is_acknowledged(self) -> None:
        async def acknowledged() -> bool:
            groups = await self.redis.xinfo_groups(STREAM)
            return bool(groups[0]["pending"] == 0 == groups[0]["lag"])

        await eventually(acknowledged)

    async def has(self, key: str) -> bool:
        with suppress(*REDIS_ERRORS):
            return bool(await self.redis.exists(key))
        return False


@asynccontextmanager
async def a_site(
    valkey: Valkey, database_url: str, tmp_path: Path
) -> AsyncIterator[Site]:
    """The server, the database and their workers, until the block ends."""
    workers: list[Worker] = []

    def start(**more: str) -> Worker:
        environment = {
            **inherited(),
            "REDIS_URL": valkey.url,
            "DATABASE_URL": database_url,
            "REFTIDE_DATA": str(tmp_path),
            "REFTIDE_SHARDS": "1",
            **more,
        }
        workers.append(Worker(environment, tmp_path / f"worker-{len(workers)}.log"))
        return workers[-1]

    database = await asyncpg.connect(database_url)
    link = await _create_link(database)
    async with for_jobs(valkey.url) as redis:
        yield Site(valkey, redis, database, link, start)
    for worker in workers:
        worker.process.kill()
        worker.process.wait()
    await database.close()


async def _create_link(database: Connection) -> UUID:
    workspace, link = uuid7(), uuid7()
    await database.execute("insert into workspaces values ($1, 'w')", workspace)
    await database.execute(
        "insert into links (id, workspace_id, public_id, namespace, code)"
        " values ($1, $2, 'lk_1', '-', 'SPRING')",
        link,
        workspace,
    )
    await database.execute(
        "insert into api_keys (id, workspace_id, key_hash, last_four, scopes)"
        " values ($1, $2, $3, '1234', '{}')",
        uuid7(),
        workspace,
        bytes(32),
    )
    return link
