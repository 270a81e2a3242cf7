"""The servers of a storm, and whether everything in them is at rest."""

import asyncio
import resource
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from ingest.contracts.directory import GENERATION_KEY
from ingest.contracts.stream import heartbeat_key
from ingest.dialects import DIALECTS
from scripts.bench.environment.servers import SECONDS, SHARDS, foreign, planted
from scripts.bench.storm.fleet import Fleet
from scripts.bench.storm.http import READY, Connections, Unanswered
from scripts.bench.storm.journal import read
from scripts.bench.storm.judge import Verdict, judge, unplaced_by
from scripts.embedded import Embedded, Options
from scripts.environment import Environment
from scripts.errors import Unreachable, UsageProblem
from scripts.servers import postgres, redis_server
from scripts.services.maintain.schema import schema_text
from scripts.services.observe.ledger import LedgerView, read_ledger
from scripts.services.observe.verify import is_at_rest
from scripts.sql import statements

_LIMITS: Final = statements("services/administer/access/limits")
_NO_LIMIT: Final = 10_000_000

_READY_SECONDS: Final = 60.0
_ASK_SECONDS: Final = 2.0
_LOOK_AGAIN_SECONDS: Final = 0.1
#: To settle in: so long, and for every event so much more.
_SETTLE_SECONDS: Final = 60.0
_PER_EVENT: Final = 0.002
#: A request under way takes three of them here.
_FILES: Final = 20_000


@asynccontextmanager
async def servers(
    caller: Environment, folder: Path, options: Options
) -> AsyncIterator[tuple[Embedded, Environment, list[str]]]:
    """Servers of our own, with the demo workspace and codes to click on."""
    async with Embedded(folder / "servers", options) as embedded:
        environment = Environment(
            {
                **foreign(caller),
                "REDIS_URL": embedded.redis_url,
                "DATABASE_URL": embedded.database_url,
                "REFTIDE_SECRET": embedded.secret,
                "REFTIDE_DATA": str(folder / "processes"),
                "REFTIDE_SHARDS": str(SHARDS),
            },
            caller.clock,
        )
        async with postgres(environment, seconds=SECONDS) as connection:
            await connection.execute(schema_text())
            for name in _limit_names():
                await connection.execute(_LIMITS["set"], name, _NO_LIMIT)
        links = await planted(environment)
        yield embedded, environment, [link.code for link in links]


def _limit_names() -> set[str]:
    return {
        limit.name
        for dialect in DIALECTS
        for endpoint in dialect.endpoints
        for limit in endpoint.limits
    }


async def stream_server(environment: Environment) -> str:
    """What holds the streams, and its version: `Valkey 9.1.2`."""
    async with redis_server(environment) as redis:
        told = await redis.info("server")
    version = told.get("valkey_version")
    return f"Valkey {version}" if version else f"Redis {told['redis_version']}"


async def ready(fleet: Fleet) -> None:
    """Return once both edges take events and a worker records them."""
    deadline = time.monotonic() + _READY_SECONDS
    while not await _is_ready(fleet):
        if time.monotonic() > deadline:
            raise Unreachable(
                "The edges and workers are not ready.", "see the logs of the storm."
            )
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def _is_ready(fleet: Fleet) -> bool:
    for port in fleet.ports:
        try:
            answer = await Connections(port, 1).ask(READY, _ASK_SECONDS)
        except Unanswered:
            return False
        if not answer.is_accepted:
            return False
    async with redis_server(fleet.environment) as redis:
        beats = [heartbeat_key(f"storm-{number}") for number in (1, 2, 3)]
        return bool(await redis.exists(*beats) and await redis.exists(GENERATION_KEY))


async def settled(environment: Environment, sent: int) -> LedgerView:
    """The ledger when nothing is under way any more, or when that takes too long."""
    deadline = time.monotonic() + _SETTLE_SECONDS + sent * _PER_EVENT
    while True:
        try:
            ledger = await _ledger(environment)
        except (UsageProblem, Unreachable):
            if time.monotonic() > deadline:
                raise
        else:
            is_over = is_at_rest(ledger) and not ledger.spooled
            if is_over or time.monotonic() > deadline:
                return ledger
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def _ledger(environment: Environment) -> LedgerView:
    async with (
        postgres(environment) as connection,
        redis_server(environment) as redis,
    ):
        return await read_ledger(redis, connection, SHARDS, environment.data)


async def verdict(environment: Environment, folder: Path) -> Verdict:
    """What became of all that the client's journal tells of."""
    with (folder / "journal").open("rb") as lines:
        histories = read(lines)
    unplaced = unplaced_by((folder / "log").glob("edge-*"))
    async with postgres(environment, seconds=SECONDS) as connection:
        return await judge(connection, histories, unplaced)


def allow_files() -> None:
    """Let this process have as many connections as the client may need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _FILES:
        wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
