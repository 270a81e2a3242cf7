"""PostgreSQL away for minutes under traffic: who notices, and how long it takes to catch up.

Used by `reftide bench outage`. Clients must not notice. The journal and its judge are the
storm's: what was accepted is recorded once in the end.
"""

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis

from ingest.contracts.clickid import KeyRing
from scripts.bench.environment.servers import SHARDS
from scripts.bench.loops import runner
from scripts.bench.storm import servers
from scripts.bench.storm.client import Client
from scripts.bench.storm.fleet import Fleet, assembled
from scripts.bench.storm.journal import Journal
from scripts.bench.storm.timing import Course, Phase, Recorded, Report, Timed
from scripts.bench.storm.traffic import Event, events
from scripts.embedded import EmbeddedError, Options
from scripts.environment import Environment
from scripts.errors import Unreachable
from scripts.servers import Connection, postgres, redis_server, single
from scripts.services.observe.streams import read_shard
from scripts.services.observe.verify import verify
from scripts.sql import statements
from scripts.stack.supervision import Say

_BOOKS: Final = statements("services/observe/status")
_SQL: Final = statements("bench/storm/storm")
_SEED: Final = 1
_POSTGRES: Final = "Postgres"

_LOOK_AGAIN_SECONDS: Final = 0.25
_TELL_SECONDS: Final = 10.0
#: Time enough to catch up in, as a multiple of the outage, and a little more.
_PATIENCE: Final = 3
_PATIENCE_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to do. `rate` is in events a second; `beside` seconds of it before and after."""

    seconds: float
    rate: float
    beside: float
    server: Path | None = None


@dataclass(frozen=True, slots=True)
class _Height:
    """What there was when PostgreSQL came back, and whether it was worked off."""

    #: Entries in no book.
    backlog: int
    redis_bytes: int
    is_live: bool


def endure(caller: Environment, wanted: Wanted, say: Say) -> tuple[Report, Path | None]:
    """The report; if it is not fine, also the folder with logs and journal that is kept.

    Raises Unreachable where the servers do not start.
    """
    servers.allow_files()
    folder = Path(tempfile.mkdtemp(prefix="reftide-outage-"))
    is_fine = False
    try:
        with runner() as loop:
            report = loop.run(_endure(caller, wanted, folder, say))
        is_fine = report.is_fine
    except EmbeddedError as error:
        raise Unreachable(error.what, error.remedy) from error
    finally:
        if is_fine:
            shutil.rmtree(folder)
        else:
            say(f"the journal and all logs are kept in {folder}")
    return report, None if is_fine else folder


async def _endure(
    caller: Environment, wanted: Wanted, folder: Path, say: Say
) -> Report:
    options = Options(stream_server=wanted.server)
    async with servers.servers(caller, folder, options) as (
        embedded,
        environment,
        codes,
    ):
        tally, course = Timed(), Course(environment.clock)
        async with assembled(
            embedded, environment, folder, say, is_linked=False
        ) as fleet:
            await servers.ready(fleet)
            server = await servers.stream_server(environment)
            keys, is_over = KeyRing(environment.secrets()), asyncio.Event()
            async with (
                Journal(folder / "journal") as journal,
                asyncio.TaskGroup() as group,
                _telling(tally, say),
            ):
                client = Client(fleet.doors, keys, journal, tally)
                sent = _until(is_over, codes)
                group.create_task(client.send(sent, wanted.rate))
                height = await _go_through(fleet, wanted, course, say)
                is_over.set()
            await servers.settled(environment, tally.events)
        checked = await verify(environment, 0)
        return Report(
            server=server,
            rate=wanted.rate,
            tally=tally,
            phases=course.phases,
            recorded=await _recorded(environment, course.phases),
            backlog=height.backlog,
            redis_bytes=height.redis_bytes,
            is_live=height.is_live,
            verdict=await servers.verdict(environment, folder),
            checked=checked,
        )


def _until(is_over: asyncio.Event, codes: list[str]) -> Iterator[Event]:
    """Events without end, but for those that are to be refused."""
    wanted = (
        each for each in events(_SEED, 1 << 40, codes) if each.kind != "unknown code"
    )
    for number, event in enumerate(wanted):
        if is_over.is_set():
            return
        yield replace(event, number=number)


async def _go_through(
    fleet: Fleet, wanted: Wanted, course: Course, say: Say
) -> _Height:
    environment, database = fleet.environment, fleet.members[_POSTGRES]
    # The first seconds warm everybody up.
    await asyncio.sleep(wanted.beside)
    course.enter("before")
    await asyncio.sleep(wanted.beside)
    async with database.lock:
        course.enter("outage")
        await database.kill()
        say("PostgreSQL is gone")
        await asyncio.sleep(wanted.seconds)
        async with redis_server(environment) as redis:
            memory = await redis.info("memory")
        await database.restart()
    course.enter("catching up")
    async with postgres(environment) as connection, redis_server(environment) as redis:
        backlog = await _behind(redis, connection)
        say(f"PostgreSQL is back; {backlog:,} entries wait")
        is_live = await _is_live(redis, connection, wanted)
    course.enter("after")
    took = course.phases["catching up"].seconds
    say(f"{'live again' if is_live else 'behind still'} after {took:.1f} s")
    await asyncio.sleep(wanted.beside)
    course.end()
    return _Height(backlog, int(memory["used_memory"]), is_live)


async def _behind(redis: Redis, connection: Connection) -> int:
    """How many entries are in no book yet."""
    added = sum([(await read_shard(redis, shard)).added for shard in range(SHARDS)])
    books: dict[str, int] = await single(connection, _BOOKS["books"])
    return added - sum(books.values())


async def _is_live(redis: Redis, connection: Connection, wanted: Wanted) -> bool:
    """Wait until less is behind than comes in a second; False where that takes too long."""
    deadline = time.monotonic() + _PATIENCE * wanted.seconds + _PATIENCE_SECONDS
    while await _behind(redis, connection) >= wanted.rate:
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)
    return True


@asynccontextmanager
async def _telling(tally: Timed, say: Say) -> AsyncIterator[None]:
    """A line now and then."""

    async def tell() -> None:
        while True:
            await asyncio.sleep(_TELL_SECONDS)
            say(tally.line())

    task = asyncio.create_task(tell())
    try:
        yield
    finally:
        task.cancel()


async def _recorded(
    environment: Environment, phases: dict[str, Phase]
) -> dict[str, Recorded]:
    found: dict[str, Recorded] = {}
    async with postgres(environment, seconds=60.0) as connection:
        for name, phase in phases.items():
            row: dict[str, Any] = await single(
                connection, _SQL["waited"], phase.from_ms, phase.to_ms
            )
            found[name] = Recorded(**row)
    return found
