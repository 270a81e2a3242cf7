"""A storm from its first process to its verdict."""

import asyncio
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from ingest.contracts.clickid import KeyRing
from scripts.bench.loops import runner
from scripts.bench.storm import faults, servers
from scripts.bench.storm.client import Client, Tally
from scripts.bench.storm.fault_injector import FaultInjector
from scripts.bench.storm.fleet import Fleet, assembled
from scripts.bench.storm.journal import Journal
from scripts.bench.storm.report import Outcome
from scripts.bench.storm.traffic import events
from scripts.embedded import EmbeddedError, Options
from scripts.environment import Environment
from scripts.errors import Unreachable
from scripts.services.observe.verify import verify
from scripts.stack.supervision import Say


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to do. `rate` is in events a second.

    `server` is a Redis or Valkey to do it with; None is the one that Reftide brings.
    """

    events: int
    kills: int
    seed: int
    rate: float
    server: Path | None = None

    @property
    def seconds(self) -> float:
        return self.events / self.rate


@dataclass(slots=True)
class Storm:
    """A storm under way: what there is to look at meanwhile."""

    wanted: Wanted
    say: Say
    tally: Tally
    injector: FaultInjector | None = None

    @property
    def faults(self) -> int:
        return len(self.injector.injected) if self.injector else 0


def run(caller: Environment, storm: Storm) -> tuple[Outcome, Path | None]:
    """The outcome; if it is not fine, or a process died, also the folder that is kept.

    Raises Unreachable where the servers do not start.
    """
    servers.allow_files()
    folder = Path(tempfile.mkdtemp(prefix="reftide-storm-"))
    is_kept = True
    try:
        with runner() as loop:
            outcome = loop.run(_rage(caller, folder, storm))
        is_kept = not outcome.is_fine or bool(outcome.deaths)
    except EmbeddedError as error:
        raise Unreachable(error.what, error.remedy) from error
    finally:
        if is_kept:
            storm.say(f"the journal and all logs are kept in {folder}")
        else:
            shutil.rmtree(folder)
    return outcome, folder if is_kept else None


async def _rage(caller: Environment, folder: Path, storm: Storm) -> Outcome:
    wanted, tally = storm.wanted, storm.tally
    options = Options(appendfsync="always", stream_server=wanted.server)
    async with servers.servers(caller, folder, options) as (
        embedded,
        environment,
        codes,
    ):
        async with assembled(embedded, environment, folder, storm.say) as fleet:
            await servers.ready(fleet)
            server = await servers.stream_server(environment)
            storm.say(f"{wanted.events:,} events in {wanted.seconds:.0f} s, {server}")
            began = time.monotonic()
            injector = storm.injector = FaultInjector(fleet, tally, storm.say)
            await _send_and_break(fleet, folder, storm, injector, codes)
            sent = time.monotonic()
            storm.say("the traffic is over; settling")
            ledger = await servers.settled(environment, wanted.events)
            settled = time.monotonic()
        checked = await verify(environment, 0)
        verdict = await servers.verdict(environment, folder)
    return Outcome(
        seed=wanted.seed,
        server=server,
        tally=tally,
        injected=injector.injected,
        verdict=verdict,
        checked=checked,
        spooled=ledger.spooled,
        vanished=ledger.lost,
        deaths=fleet.deaths,
        seconds=sent - began,
        settling=settled - sent,
    )


async def _send_and_break(
    fleet: Fleet, folder: Path, storm: Storm, injector: FaultInjector, codes: list[str]
) -> None:
    """The traffic and the faults, until both are over."""
    wanted = storm.wanted
    keys = KeyRing(fleet.environment.secrets())
    async with Journal(folder / "journal") as journal:
        client = Client(fleet.ports, keys, journal, storm.tally)
        async with asyncio.TaskGroup() as group:
            planned = faults.plan(wanted.seed, wanted.kills)
            group.create_task(injector.run(planned, wanted.seconds))
            await client.send(events(wanted.seed, wanted.events, codes), wanted.rate)
            injector.is_over.set()
