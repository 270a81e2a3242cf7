"""A storm from its first process to its verdict. Used by `reftide bench storm`."""

import asyncio
import resource
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ingest.contracts.clickid import KeyRing
from ingest.contracts.directory import GENERATION_KEY
from ingest.contracts.stream import heartbeat_key
from ingest.dialects import DIALECTS
from scripts.bench.ground import SECONDS, SHARDS, foreign, planted
from scripts.bench.loops import runner
from scripts.bench.storm import faults
from scripts.bench.storm.client import Client, Tally
from scripts.bench.storm.fleet import Fleet, assembled
from scripts.bench.storm.harm import Harm
from scripts.bench.storm.http import READY, Connections, Unanswered
from scripts.bench.storm.journal import Journal, read
from scripts.bench.storm.judge import Verdict, judge, unplaced_by
from scripts.bench.storm.report import Outcome
from scripts.bench.storm.traffic import events
from scripts.books import Books, read_books
from scripts.embedded import Embedded, EmbeddedError, Options
from scripts.environment import Environment
from scripts.output import Refused, Unreachable
from scripts.queries import statements
from scripts.schema import schema_text
from scripts.servers import postgres, redis_server
from scripts.supervision import Say
from scripts.verification import is_at_rest, verify

_LIMITS: Final = statements("limits")
_NO_LIMIT: Final = 10_000_000

_READY_SECONDS: Final = 60.0
_ASK_SECONDS: Final = 2.0
_LOOK_AGAIN_SECONDS: Final = 0.1
#: To settle in: so long, and for every event so much more.
_SETTLE_SECONDS: Final = 60.0
_PER_EVENT: Final = 0.002
#: A request under way takes three of them here.
_FILES: Final = 20_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to do. `rate` is in events a second."""

    events: int
    kills: int
    seed: int
    rate: float

    @property
    def seconds(self) -> float:
        return self.events / self.rate


@dataclass(slots=True)
class Storm:
    """A storm under way: what there is to look at meanwhile."""

    wanted: Wanted
    say: Say
    tally: Tally
    harm: Harm | None = None

    @property
    def faults(self) -> int:
        return len(self.harm.suffered) if self.harm else 0


def rage(caller: Environment, storm: Storm) -> tuple[Outcome, Path | None]:
    """The outcome; if it is not fine, or a process died, also the folder that is kept.

    Raises Unreachable where the servers do not start.
    """
    _allow_files()
    folder = Path(tempfile.mkdtemp(prefix="reftide-storm-"))
    is_worth_a_look = True
    try:
        with runner() as loop:
            outcome = loop.run(_rage(caller, folder, storm))
        is_worth_a_look = not outcome.is_fine or bool(outcome.deaths)
    except EmbeddedError as error:
        raise Unreachable(error.what, error.remedy) from error
    finally:
        if is_worth_a_look:
            storm.say(f"the journal and all logs are kept in {folder}")
        else:
            shutil.rmtree(folder)
    return outcome, folder if is_worth_a_look else None


async def _rage(caller: Environment, folder: Path, storm: Storm) -> Outcome:
    wanted, tally = storm.wanted, storm.tally
    async with _ground(caller, folder) as (embedded, environment, codes):
        async with assembled(embedded, environment, folder, storm.say) as fleet:
            await _ready(fleet)
            storm.say(f"{wanted.events:,} events in {wanted.seconds:.0f} s")
            began = time.monotonic()
            harm = storm.harm = Harm(fleet, tally, storm.say)
            await _blow(fleet, folder, storm, harm, codes)
            blown = time.monotonic()
            storm.say("the traffic is over; settling")
            books = await _settled(environment, wanted.events)
            settled = time.monotonic()
        checked = await verify(environment, 0)
        verdict = await _verdict(environment, folder)
    return Outcome(
        seed=wanted.seed,
        tally=tally,
        suffered=harm.suffered,
        verdict=verdict,
        checked=checked,
        spooled=books.spooled,
        vanished=books.lost,
        deaths=fleet.deaths,
        seconds=blown - began,
        settling=settled - blown,
    )


async def _blow(
    fleet: Fleet, folder: Path, storm: Storm, harm: Harm, codes: list[str]
) -> None:
    """The traffic and the faults, until both are over."""
    wanted = storm.wanted
    keys = KeyRing(fleet.environment.secrets())
    async with Journal(folder / "journal") as journal:
        client = Client(fleet.doors, keys, journal, storm.tally)
        async with asyncio.TaskGroup() as group:
            planned = faults.plan(wanted.seed, wanted.kills)
            group.create_task(harm.rage(planned, wanted.seconds))
            await client.send(events(wanted.seed, wanted.events, codes), wanted.rate)
            harm.is_over.set()


@asynccontextmanager
async def _ground(
    caller: Environment, folder: Path
) -> AsyncIterator[tuple[Embedded, Environment, list[str]]]:
    """Servers of our own, with the demo workspace and codes to click on."""
    async with Embedded(folder / "servers", Options(appendfsync="always")) as embedded:
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


async def _ready(fleet: Fleet) -> None:
    """Return once both edges take events and a worker records them."""
    deadline = time.monotonic() + _READY_SECONDS
    while not await _is_ready(fleet):
        if time.monotonic() > deadline:
            raise Unreachable(
                "The edges and workers are not ready.", "see the logs of the storm."
            )
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def _is_ready(fleet: Fleet) -> bool:
    for door in fleet.doors:
        try:
            answer = await Connections(door, 1).ask(READY, _ASK_SECONDS)
        except Unanswered:
            return False
        if not answer.is_accepted:
            return False
    async with redis_server(fleet.environment) as redis:
        beats = [heartbeat_key(f"storm-{number}") for number in (1, 2, 3)]
        return bool(await redis.exists(*beats) and await redis.exists(GENERATION_KEY))


async def _settled(environment: Environment, sent: int) -> Books:
    """The books when nothing is under way any more, or when that takes too long."""
    deadline = time.monotonic() + _SETTLE_SECONDS + sent * _PER_EVENT
    while True:
        try:
            books = await _books(environment)
        except (Refused, Unreachable):
            if time.monotonic() > deadline:
                raise
        else:
            is_over = is_at_rest(books) and not books.spooled
            if is_over or time.monotonic() > deadline:
                return books
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def _books(environment: Environment) -> Books:
    async with (
        postgres(environment) as connection,
        redis_server(environment) as redis,
    ):
        return await read_books(redis, connection, SHARDS, environment.data)


async def _verdict(environment: Environment, folder: Path) -> Verdict:
    with (folder / "journal").open("rb") as lines:
        stories = read(lines)
    unplaced = unplaced_by((folder / "log").glob("edge-*"))
    async with postgres(environment, seconds=SECONDS) as connection:
        return await judge(connection, stories, unplaced)


def _allow_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _FILES:
        wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
