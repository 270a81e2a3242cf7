"""`reftide bench storm`: from the first process to the verdict."""

import asyncio
import resource
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import click
import orjson
from redis.asyncio import Redis

from ingest.contracts.clickid import KeyRing
from scripts.bench import options
from scripts.bench.environment.processes import repeatedly, status
from scripts.bench.environment.runs import tell
from scripts.bench.environment.servers import SHARDS, Asked, BenchServers, prepared
from scripts.bench.loops import runner
from scripts.bench.storm.client import Client, Tally
from scripts.bench.storm.faults import FaultInjector, InjectedFault, plan
from scripts.bench.storm.fleet import Fleet, assembled
from scripts.bench.storm.judge import Verdict, judge, unplaced_by
from scripts.bench.storm.traffic import events as made_events
from scripts.environment import Environment
from scripts.errors import Unreachable, UsageProblem
from scripts.output import emit, facts, json_option, table
from scripts.services.administer.access.limits import known_limits
from scripts.services.observe.ledger import LedgerView, read_ledger
from scripts.services.observe.verify import is_at_rest, verify
from scripts.sql import statements

_LIMITS: Final = statements("services/administer/access/limits")
_NO_LIMIT: Final = 10_000_000
_READY_SECONDS: Final = 60.0
_LOOK_AGAIN_SECONDS: Final = 0.1
#: To settle in: so long, and for every event so much more.
_SETTLE_SECONDS: Final = 60.0
_PER_EVENT: Final = 0.002
#: A request under way takes three of them here.
_FILES: Final = 20_000
_TELL_SECONDS: Final = 5.0
_SHOWN: Final = 20
#: What people read of the document, beside its figures.
_TABLES: Final = {
    "by_kind": "Faults, and seconds until both edges took events",
    "mismatches": "Counters that are not their rows",
}
_COUNTS: Final = {
    "answers": "Answers",
    "quarantine": "In quarantine",
    "surprises": "Answers that no fault explains",
}


@dataclass(slots=True)
class _Storm:
    """A storm under way."""

    servers: BenchServers
    folder: Path
    events: int
    kills: int
    seed: int
    rate: float
    tally: Tally
    injector: FaultInjector | None = None

    def say(self) -> None:
        """Tell the figures in a line."""
        tally, faults = self.tally, self.injector.injected if self.injector else []
        answers = [f"{count:,} of {each}" for each, count in tally.answers.items()]
        tell(
            f"{len(tally.histories):,} of {self.events:,} events,"
            f" {len(faults)} of {self.kills} faults,"
            f" longest unavailable {tally.longest_gap:.1f} s;"
            f" answers: {', '.join(answers)}"
        )


@click.command(
    epilog="""\b
  reftide bench storm --events 20000 --kills 12 --seed 1
  reftide bench storm --server /usr/bin/redis-server

\b
Everything runs as it would, through proxies that break connections. Exit code 1: an
accepted event is lost, or one counts twice, or the ledger does not balance; the
client's journal and all logs are kept then. The same seed is the same storm, but for
what the machine does.
"""
)
@options.number("events", 20_000, "Clicks, leads and sales to send.")
@options.number(
    "kills",
    12,
    "Faults: processes killed, stopped and frozen, connections broken.",
    least=0,
    most=10_000,
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
    emit(as_json, document, lambda: _show(document))
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
    async with servers.postgres() as connection, servers.redis() as redis:
        for name in [
            name for name, limit in known_limits().items() if limit["default"]
        ]:
            await connection.execute(_LIMITS["set"], name, _NO_LIMIT)
        server = await _named(redis)
    async with assembled(servers.embedded, servers.environment, storm.folder) as fleet:
        await _ready(fleet)
        tell(f"{storm.events:,} events in {storm.events / storm.rate:.0f} s, {server}")
        storm.injector = FaultInjector(fleet, tally)
        began = time.monotonic()
        await _send_and_break(storm, fleet, storm.injector)
        sent = time.monotonic()
        tell("the traffic is over; settling")
        ledger = await _settled(servers, storm.events)
        settled = time.monotonic()
    checked = await verify(servers.environment, 0)
    async with servers.postgres() as connection:
        unplaced = unplaced_by(fleet.logs.glob("edge-*"))
        verdict = await judge(connection, tally.histories, unplaced)
    is_settled = bool(checked["settled"]) and not ledger.spooled
    survived = [
        is_settled and (one.back is not None or one.is_late)
        for one in storm.injector.injected
    ]
    return {
        "seed": storm.seed,
        "server": server,
        "ok": verdict.is_fine and is_settled and checked["ok"] and not ledger.lost,
        "events": len(tally.histories),
        "faults": len(survived),
        "survived": sum(survived),
        **_judged(verdict),
        "ledger": checked["balance"],
        "settled": is_settled,
        "mismatches": checked["mismatches"],
        "in_flight": checked["in_flight"],
        "spooled": ledger.spooled,
        "vanished": ledger.lost,
        "answers": dict(sorted(tally.answers.items())),
        "surprises": dict(tally.surprises.most_common(_SHOWN)),
        "longest_unavailable": round(tally.longest_gap, 2),
        "slowest_answer": round(tally.slowest, 2),
        "seconds": round(sent - began, 1),
        "settling_seconds": round(settled - sent, 1),
        "deaths": fleet.deaths,
        "by_kind": _by_kind(storm.injector.injected, survived),
    }


def _judged(verdict: Verdict) -> dict[str, Any]:
    marks = {name: getattr(verdict, name) for name in ("lost", "doubled", "astray")}
    return {
        **{name: len(found) for name, found in marks.items()},
        "quarantined": sum(verdict.quarantined.values()),
        "quarantine": dict(verdict.quarantined),
        "accepted": verdict.accepted,
        "recorded": verdict.recorded,
        "accepted_again": verdict.again,
        "unplaced": verdict.unplaced,
        **{f"{name}_marks": found[:_SHOWN] for name, found in marks.items()},
    }


def _by_kind(
    injected: list[InjectedFault], survived: list[bool]
) -> list[dict[str, Any]]:
    """Faults by what they are and whom they met."""
    kinds: dict[tuple[str, str], list[tuple[bool, float]]] = {}
    for one, is_survived in zip(injected, survived, strict=True):
        whom = one.fault.target.partition(":")[0].rstrip(" 0123456789")
        back = round(one.back or 0.0, 2)
        kinds.setdefault((one.fault.kind, whom), []).append((is_survived, back))
    return [
        {
            "fault": kind,
            "of": whom,
            "times": len(found),
            "survived": sum(is_survived for is_survived, _ in found),
            "longest_back": max(back for _, back in found),
        }
        for (kind, whom), found in sorted(kinds.items())
    ]


async def _send_and_break(storm: _Storm, fleet: Fleet, injector: FaultInjector) -> None:
    """The traffic and the faults, until both are over."""
    keys = KeyRing(fleet.environment.secrets())
    client = Client(fleet.ports, keys, storm.tally)
    async with asyncio.TaskGroup() as group:
        planned = plan(storm.seed, storm.kills)
        group.create_task(injector.run(planned, storm.events / storm.rate))
        sent = made_events(storm.seed, storm.events, storm.servers.codes)
        await client.send(sent, storm.rate)
        injector.is_over.set()


async def _named(redis: Redis) -> str:
    """What holds the streams, and its version: `Valkey 9.1.2`."""
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


async def _settled(servers: BenchServers, sent: int) -> LedgerView:
    """The ledger when nothing is under way any more, or when that takes too long."""
    deadline = time.monotonic() + _SETTLE_SECONDS + sent * _PER_EVENT
    data = servers.environment.data
    while True:
        try:
            async with servers.postgres() as connection, servers.redis() as redis:
                ledger = await read_ledger(redis, connection, SHARDS, data)
        except (UsageProblem, Unreachable):
            if time.monotonic() > deadline:
                raise
        else:
            is_over = is_at_rest(ledger) and not ledger.spooled
            if is_over or time.monotonic() > deadline:
                return ledger
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)


def _allow_files() -> None:
    """Let this process have as many connections as the client may need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _FILES:
        wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _show(document: Mapping[str, Any]) -> None:
    for name, title in _TABLES.items():
        if rows := document[name]:
            table(rows, list(rows[0]), title)
    for name, title in _COUNTS.items():
        if document[name]:
            facts(document[name], title)
    shown = {
        name: value
        for name, value in document.items()
        if name not in {*_TABLES, *_COUNTS}
    }
    facts(shown, f"Seed {document['seed']}")
