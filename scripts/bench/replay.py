"""`reftide bench replay`: history from the archive, alone and beside live traffic.

First all of it is recorded, from segments of streams that are gone, by worker processes; in
the middle one of them is killed, and another takes its place. Then, beside live clicks, all
of it is replayed three times more. A digest of its rows, customers and counters must stay;
what is compared is how long live clicks take to be recorded, with and without replays.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from statistics import mean
from typing import Any, Final
from uuid import UUID

from ingest.contracts.directory import LinkRecord
from ingest.dialects.affitor import AFFITOR
from scripts.bench import options
from scripts.bench.environment import usage
from scripts.bench.environment.processes import Process, worker_names, workers
from scripts.bench.environment.runs import Pair, Result, tell
from scripts.bench.environment.servers import SHARDS, Asked, BenchServers, prepared
from scripts.bench.load.events import fire, unix_ms, write_segments
from scripts.environment import Environment
from scripts.errors import Unreachable
from scripts.servers import Connection, single
from scripts.services.observe.verify import verify
from scripts.services.recover.replays import order
from scripts.sql import statements
from workers.replay.leases import Mode
from workers.replay.request import DEFAULT_RATE, ReplayRequest

_SQL: Final = statements("bench/replay")
_POLL_SECONDS: Final = 0.5
#: Nothing moved for so long: it will not come. Longer than a dead worker's lease.
_PATIENCE_SECONDS: Final = 60.0
_MODES: Final[tuple[Mode, ...]] = ("missing", "reprocess", "missing")
_FAST: Final = 1_000_000
_VERIFY_SECONDS: Final = 120.0
_MIB: Final = 1 << 20


@dataclass(slots=True)
class _Workers:
    """Worker processes that may be killed, and what the greatest held, in MiB."""

    servers: BenchServers
    stack: ExitStack
    alive: list[Process] = field(default_factory=list)
    resident: list[float] = field(default_factory=list)
    #: When the history ends, Unix milliseconds.
    until: int = 0

    def start(self, *names: str) -> None:
        archive = {"REFTIDE_ARCHIVE": str(self.servers.data / "archive")}
        started = workers(self.servers, *names, variables=archive)
        self.alive += self.stack.enter_context(started)

    def replace_one(self) -> None:
        """SIGKILL for the latest, in whose place another one comes."""
        self.alive.pop().kill()
        self.start("successor")

    def look(self) -> None:
        self.resident.append(max(usage.memory([one.pid]) for one in self.alive) / _MIB)


@options.measurement(
    options.count("events", 60_000, "Clicks in the archive.", least=100),
    options.count("workers", 2, "Processes that replay and record.", most=64),
    options.count("live", 200, "Live clicks a second.", most=100_000),
    options.count("rate", DEFAULT_RATE, "Replayed events a second, at most."),
    options.seconds(15.0, "How long live clicks are measured alone, twice."),
    epilog="""\b
  reftide bench replay --events 1000000 --rate 8000

\b
All events are first recorded from an archive, as fast as it goes; a worker is killed in
the middle. Then they are replayed three times beside live clicks: a digest of their rows
and counters must stay, and verify must find all in order. The figure is the p99 of live
clicks from their id to their commit, the baseline that without replays.
""",
)
def replay(
    environment: Environment,
    *,
    events: int,
    workers: int,
    live: int,
    rate: int,
    seconds: float,
) -> Result:
    """History replayed beside live traffic: what it does to the traffic."""
    usage.require()
    with (
        prepared(environment, Asked(tells_commits=True)) as servers,
        ExitStack() as stack,
    ):
        started = _Workers(servers, stack)
        started.start(*worker_names(workers))
        found = asyncio.run(_measure(started, events, live, rate, seconds))
    alone, beside = found["live_alone"], found["live_beside"]
    return Result(
        name="replay",
        unit="ms",
        pairs=[Pair(beside["p99"], mean(each["p99"] for each in alone))],
        conditions={
            "baseline": "p99 of such clicks without a replay, before and after",
            "live_per_second": live,
            "replayed_per_second_at_most": rate,
            "shards": SHARDS,
            "digest_before_and_after": found.pop("digest"),
        },
        digits=1,
        more=found,
    )


async def _measure(
    started: _Workers, events: int, live: int, rate: int, seconds: float
) -> dict[str, Any]:
    servers = started.servers
    half = len(servers.links) // 2
    async with servers.postgres() as connection:
        tell(f"writing {events:,} clicks into an archive")
        epochs = await _archived(servers, connection, servers.links[:half], events)
        started.until = unix_ms()
        recovered = await _recover(started, connection, events)
        before = await connection.fetchval(_SQL["digest"], epochs)
        # On links that no replayed event names.
        beside = partial(
            _beside, servers, connection, epochs, servers.links[half:], live
        )
        alone = [await beside(lambda: asyncio.sleep(seconds))]
        during = await beside(lambda: _again(started, connection, events, rate))
        alone += [await beside(lambda: asyncio.sleep(seconds))]
        after = await connection.fetchval(_SQL["digest"], epochs)
    report = await verify(servers.environment, _VERIFY_SECONDS)
    if before != after or not (report["ok"] and report["settled"]):
        raise Unreachable(
            f"Three replays changed something: {before} {after} {report['mismatches']}",
            "it is a bug.",
        )
    found = {"recovered": recovered, "live_alone": alone, "live_beside": during}
    return {**found, "digest": after}


async def _archived(
    servers: BenchServers,
    connection: Connection,
    links: Sequence[LinkRecord],
    events: int,
) -> list[int]:
    """Write so many clicks as segments; the numbers of the epochs that they are of."""
    # Shards have equally many, the first ones those that are left over.
    counts = [events // SHARDS + (shard < events % SHARDS) for shard in range(SHARDS)]
    epochs = [
        await connection.fetchval(_SQL["epoch"], shard, clicks)
        for shard, clicks in enumerate(counts)
    ]
    directory = servers.data / "archive"
    directory.mkdir(exist_ok=True)
    write_segments(directory, links, list(zip(epochs, counts, strict=True)))
    return epochs


async def _recover(
    started: _Workers, connection: Connection, events: int
) -> dict[str, object]:
    """Record everything from the archive; one worker is killed when half of it is done."""
    at_kill: list[int] = []

    def watch(scanned: int) -> None:
        if not at_kill and scanned >= events // 2:
            at_kill.append(scanned)
            tell(f"killing a worker at {scanned:,} events")
            started.replace_one()

    done = await _replay(started, connection, "missing", _FAST, watch)
    if (done["scanned"], done["inserted"]) != (events, events):
        raise Unreachable(f"Of {events:,} events: {done}", "it is a bug.")
    memory = started.resident
    early, most = max(memory[: max(1, len(memory) // 4)]), max(memory)
    tell(
        f"recorded {events:,} events in {done['seconds']:.1f} s; a worker held at most"
        f" {early:.0f} MiB in the first quarter, {most:.0f} MiB in all"
    )
    return {
        "seconds": round(done["seconds"], 1),
        "per_second": round(events / done["seconds"]),
        "killed_at": at_kill[0],
        "worker_mib_first_quarter": round(early, 1),
        "worker_mib_most": round(most, 1),
    }


async def _again(
    started: _Workers, connection: Connection, events: int, rate: int
) -> None:
    for mode in _MODES:
        done = await _replay(started, connection, mode, rate)
        if (done["scanned"], done["unchanged"]) != (events, events):
            raise Unreachable(f"Replayed again ({mode}): {done}", "it is a bug.")
        tell(f"{mode}: {events:,} events in {done['seconds']:.1f} s, nothing changed")


async def _replay(
    started: _Workers,
    connection: Connection,
    mode: Mode,
    rate: int,
    watch: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """Order a replay of the history, and wait for its end."""
    request = ReplayRequest(
        from_ms=0,
        to_ms=started.until,
        # Not the click that the demo workspace imports.
        dialect=AFFITOR.name,
        rate=rate,
    )
    replay_id: UUID = await order(connection, mode, request, SHARDS)
    moved, read = time.monotonic(), 0
    while True:
        found = await single(connection, _SQL["progress"], replay_id)
        started.look()
        watch(found["scanned"])
        if found["status"] != "running":
            return found
        if found["read"] > read:
            moved, read = time.monotonic(), found["read"]
        elif time.monotonic() - moved > _PATIENCE_SECONDS:
            raise Unreachable(f"The replay stands still: {found}", "see the workers.")
        await asyncio.sleep(_POLL_SECONDS)


async def _beside(
    servers: BenchServers,
    connection: Connection,
    epochs: Sequence[int],
    links: Sequence[LinkRecord],
    rate: int,
    work: Callable[[], Awaitable[None]],
) -> dict[str, float]:
    """Live clicks from accepted to recorded while something is done, in milliseconds."""
    async with servers.redis() as redis:
        live = asyncio.create_task(fire(redis, links, rate))
        began = time.time_ns() / 1e9
        await work()
        ended = time.time_ns() / 1e9
        live.cancel()
        with suppress(asyncio.CancelledError):
            await live
    await asyncio.sleep(2 * _POLL_SECONDS)
    found = await single(connection, _SQL["latency"], list(epochs), began, ended)
    tell(f"live: p50 {found['p50']:.0f} ms, p99 {found['p99']:.0f} ms")
    return {name: round(value, 1) for name, value in found.items()}
