"""`reftide bench storm`: from the first process to the verdict."""

import asyncio
import os
import resource
import shutil
import tempfile
import time
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import click
import orjson
from redis.asyncio import Redis

from ingest.contracts.clickid import KeyRing
from scripts.bench import options
from scripts.bench.environment.loops import runner
from scripts.bench.environment.processes import busy, repeatedly, status
from scripts.bench.environment.runs import tell
from scripts.bench.environment.servers import SHARDS, Asked, BenchServers, prepared
from scripts.bench.storm.client import Client, Tally
from scripts.bench.storm.faults import FaultInjector, plan
from scripts.bench.storm.fleet import Fleet, assembled
from scripts.bench.storm.judge import judge, unplaced_by
from scripts.bench.storm.report import Findings, show
from scripts.bench.storm.traffic import events as made_events
from scripts.environment import Environment
from scripts.errors import Unreachable, UsageProblem
from scripts.output import emit, json_option
from scripts.servers import rows
from scripts.services.administer.access.limits import known_limits
from scripts.services.observe.ledger import LedgerView, at_most, losses, read_ledger
from scripts.services.observe.verify import is_at_rest, verify
from scripts.sql import statements
from workers.stream.epochs import (
    appended_by_edges,
    count_losses,
    sample,
    take_vanished,
)

_LIMITS: Final = statements("services/administer/access/limits")
#: What the ledger is made of.
_LEDGER: Final = (
    "stream_epochs",
    "open_epochs",
    "edge_appends",
    "vanished_events",
    "ledger",
)
_NO_LIMIT: Final = 10_000_000
_READY_SECONDS: Final = 60.0
_LOOK_AGAIN_SECONDS: Final = 0.1
#: How long nothing more may be recorded until it is given up that all will be.
_SETTLE_SECONDS: Final = 60.0
#: A request under way takes three of them here.
_FILES: Final = 20_000
_TELL_SECONDS: Final = 5.0
_SQL: Final = statements("bench/storm/storm")


@dataclass(slots=True)
class _Storm:
    """A storm under way."""

    servers: BenchServers
    folder: Path
    events: int
    kills: int
    losses: int
    seed: int
    rate: float
    busy: int
    delay: float
    tally: Tally
    injector: FaultInjector | None = None

    def say(self) -> None:
        """Tell the figures in a line."""
        tally, faults = self.tally, self.injector.injected if self.injector else []
        answers = [f"{count:,} of {each}" for each, count in tally.answers.items()]
        tell(
            f"{len(tally.histories):,} of {self.events:,} events,"
            f" {len(faults)} of {self.kills + self.losses} faults,"
            f" longest unavailable {tally.longest_gap:.1f} s;"
            f" answers: {', '.join(answers)}"
        )


@click.command(
    epilog="""\b
  reftide bench storm --events 20000 --kills 12 --seed 1
  reftide bench storm --server /usr/bin/redis-server
  reftide bench storm --losses 8 --kills 20
  reftide bench storm --kills 0 --busy 4

\b
Everything runs as it would, through proxies that break connections. Exit code 1: an
accepted event is lost, or one counts twice, or the ledger does not balance; the
client's journal and all logs are kept then. The same seed is the same storm, but for
what the machine does.

\b
With --losses, Valkey loses what it had acknowledged. Then the ledger has to be right
about it: `lost` are accepted events that are gone, `gone` are those and others that
went with them and were never answered; `ledger_lost` has to lie between, at least and
at most (null: an edge was killed, and nobody knows). Anything else lost is exit code 1.
"""
)
@options.number("events", 20_000, "Clicks, leads and sales to send, some in batches.")
@options.number(
    "kills",
    12,
    "Faults: processes killed, stopped and frozen, connections broken.",
    least=0,
    most=10_000,
)
@options.number(
    "losses",
    0,
    "Times that Valkey loses the end of its file, or a primary what a replica lacks.",
    least=0,
    most=1000,
)
@options.number("busy", 0, "Processes beside it that only burn time.", least=0, most=64)
@options.number(
    "delay",
    0.0,
    "Seconds that everything to and from Valkey is late.",
    least=0,
    most=60,
)
@options.option("seed", click.INT, 1, "Which storm.")
@options.number("rate", 800.0, "Events a second.", least=1)
@click.option(
    "--server",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="PROGRAM",
    help="A redis-server or valkey-server to use in place of the one that comes along.",
)
@json_option
@click.pass_obj
def storm(
    environment: Environment, /, *, server: Path | None, as_json: bool, **asked: Any
) -> None:
    """Break everything under traffic; prove that nothing was lost or counted twice."""
    _allow_files()
    servers_asked = Asked(appendfsync="always", stream_server=server)
    folder = Path(tempfile.mkdtemp(prefix="reftide-storm-"))
    document: dict[str, Any] = {"ok": False, "deaths": []}
    try:
        with prepared(environment, servers_asked) as servers, runner() as loop:
            raging = _Storm(servers, folder, **asked, tally=Tally())
            try:
                with repeatedly(raging.say, _TELL_SECONDS):
                    document = loop.run(_rage(raging))
            finally:
                _keep(raging)
    finally:
        kept = folder if not document["ok"] or document["deaths"] else None
        if kept is None:
            shutil.rmtree(folder)
        else:
            tell(f"the journal and all logs are kept in {folder}")
    document["kept"] = str(kept) if kept else None
    emit(as_json, document, lambda: show(document))
    if not document["ok"]:
        raise SystemExit(1)


def _keep(storm: _Storm) -> None:
    """What the client remembers, a line of JSON an event, and what the servers said."""
    with (storm.folder / "journal").open("wb") as journal:
        for history in storm.tally.histories.values():
            journal.write(orjson.dumps(history, default=list) + b"\n")
    shutil.copytree(storm.servers.data / "servers" / "log", storm.folder / "servers")


async def _rage(storm: _Storm) -> dict[str, Any]:
    """Everything in order; the document of what came of it."""
    servers, tally = storm.servers, storm.tally
    if servers.embedded is None:
        raise RuntimeError("a storm breaks servers of its own")
    server = await _prepared(servers)
    before = os.getloadavg()[0]
    async with assembled(servers.embedded, servers.environment, storm.folder) as fleet:
        await _ready(fleet)
        tell(f"{storm.events:,} events in {storm.events / storm.rate:.0f} s, {server}")
        storm.injector = FaultInjector(fleet, tally)
        began = time.monotonic()
        with busy(storm.busy):
            await _send_and_break(storm, fleet, storm.injector)
            sent = time.monotonic()
            tell("the traffic is over; settling")
            if storm.losses:
                await _settled(servers)
                await _count_losses(servers)
            ledger = await _settled(servers)
        settled = time.monotonic()
    found = await _judged(storm, fleet, ledger)
    return {
        "seed": storm.seed,
        "server": server,
        **found.document(tally),
        "load": [round(before, 1), round(os.getloadavg()[0], 1)],
        "seconds": round(sent - began, 1),
        "settling_seconds": round(settled - sent, 1),
        "deaths": fleet.deaths,
    }


async def _judged(storm: _Storm, fleet: Fleet, ledger: LedgerView) -> Findings:
    servers = storm.servers
    checked = await verify(servers.environment, 0)
    async with servers.postgres() as connection:
        unplaced = unplaced_by(fleet.logs.glob("edge-*"))
        verdict = await judge(connection, storm.tally.histories, unplaced, fleet.lost)
        most = at_most(ledger.lost, await losses(connection))
        kept = {each: await rows(connection, f"table {each}") for each in _LEDGER}
    (storm.folder / "ledger").write_bytes(orjson.dumps(kept, default=str))
    injected = storm.injector.injected if storm.injector else []
    return Findings(verdict, checked, ledger, most, injected)


async def _send_and_break(storm: _Storm, fleet: Fleet, injector: FaultInjector) -> None:
    """The traffic and the faults, until both are over."""
    keys = KeyRing(fleet.environment.secrets())
    client = Client(fleet.ports, keys, storm.tally)
    to_valkey = [link for name, link in fleet.links.items() if "Valkey" in name]
    for link in to_valkey:
        link.delay = link.usual_delay = storm.delay
    async with asyncio.TaskGroup() as group:
        planned = plan(storm.seed, storm.kills, storm.losses)
        group.create_task(injector.run(planned, storm.events / storm.rate))
        sent = made_events(storm.seed, storm.events, storm.servers.codes)
        await client.send(sent, storm.rate)
        injector.is_over.set()
    for link in to_valkey:
        link.delay = 0.0


async def _prepared(servers: BenchServers) -> str:
    """Lift all limits; what holds the streams, and its version: `Valkey 9.1.2`."""
    async with servers.postgres() as connection, servers.redis() as redis:
        for name, limit in known_limits().items():
            if limit["default"]:
                await connection.execute(_LIMITS["set"], name, _NO_LIMIT)
        told = await redis.info("server")
    version = told.get("valkey_version")
    return f"Valkey {version}" if version else f"Redis {told['redis_version']}"


async def _ready(fleet: Fleet) -> None:
    """Return once both edges take events."""
    deadline = time.monotonic() + _READY_SECONDS
    for port in fleet.ports:
        while await asyncio.to_thread(status, port, "/readyz") != HTTPStatus.OK:
            if time.monotonic() > deadline:
                raise Unreachable("The edges are not ready.", "see the storm's logs.")
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def _settled(servers: BenchServers) -> LedgerView:
    """The ledger when nothing is under way any more, or when it does not get further."""
    deadline, most = time.monotonic() + _SETTLE_SECONDS, -1
    data = servers.environment.data
    while True:
        try:
            async with servers.postgres() as connection, servers.redis() as redis:
                ledger = await read_ledger(redis, connection, range(SHARDS), data)
        except (UsageProblem, Unreachable):
            if time.monotonic() > deadline:
                raise
        else:
            is_over = is_at_rest(ledger) and not ledger.spooled
            if ledger.settled > most:
                deadline, most = time.monotonic() + _SETTLE_SECONDS, ledger.settled
            if is_over or time.monotonic() > deadline:
                return ledger
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def _count_losses(servers: BenchServers) -> None:
    """Let edges tell what they miss, and count it as workers do once a minute."""
    async with servers.postgres() as connection, servers.redis() as redis:
        async with asyncio.timeout(_READY_SECONDS):
            while not await _is_compared(redis):  # noqa: ASYNC110 -- Redis tells
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        await take_vanished(connection, redis)
        async with connection.transaction():
            await connection.execute(_SQL["lock_losses"])
            await sample(connection, redis, range(SHARDS))
            await count_losses(connection, redis, range(SHARDS))


async def _is_compared(redis: Redis) -> bool:
    """Whether every edge has asked the server, as it runs now, for what it appended."""
    run = (await redis.info("server"))["run_id"]
    edges = await appended_by_edges(redis)
    return bool(edges) and all(each.run == run for each in edges)


def _allow_files() -> None:
    """Let this process have as many connections as the client may need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _FILES:
        wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
