"""`reftide bench replay`: history from the archive, alone and beside live traffic."""

import asyncio
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from statistics import mean, median
from typing import Any, Final
from uuid import UUID

from ingest.contracts.directory import LinkRecord
from ingest.dialects.affitor import AFFITOR
from scripts import tasks
from scripts.bench import options
from scripts.bench.environment.processes import workers as started
from scripts.bench.environment.runs import Pair, Result, tell
from scripts.bench.environment.servers import SHARDS, Asked, BenchServers, prepared
from scripts.bench.load.events import (
    entries,
    envelopes,
    fire,
    unix_ms,
    write_segments,
)
from scripts.bench.load.recording import backlog
from scripts.environment import Environment
from scripts.errors import Unreachable
from scripts.servers import Connection, single
from scripts.services.observe.verify import verify
from scripts.services.recover.replays import order
from scripts.sql import statements
from workers.replay.leases import Mode
from workers.replay.request import ReplayRequest

_SQL: Final = statements("bench/environment/replay")
_BENCH_SQL: Final = statements("bench/environment/bench")
_POLL_SECONDS: Final = 0.5
#: Nothing moved for so long: it will not come. Longer than a dead worker's lease.
_PATIENCE_SECONDS: Final = 60.0
_MODES: Final[tuple[Mode, ...]] = ("missing", "reprocess", "missing")
_FAST: Final = 1_000_000
_VERIFY_SECONDS: Final = 120.0
#: For a VACUUM of everything.
_CALM_SECONDS: Final = 600.0
#: Replays of what is recorded, of which the median counts.
_TIMES: Final = 3


@dataclass(frozen=True, slots=True)
class _History:
    """What is replayed: events of epochs that ended, before a Unix millisecond."""

    connection: Connection
    events: int
    epochs: Sequence[int]
    until: int


@options.measurement(
    options.number("events", 60_000, "Clicks in the archive.", least=100),
    options.number("workers", 2, "Processes that replay and record.", most=64),
    options.number("live", 200, "Live clicks a second.", most=100_000),
    options.number(
        "rate", 0, "Replayed events a second, at most; 0: what is left.", least=0
    ),
    options.seconds(15.0, "How long live clicks are measured alone, twice."),
    epilog="""\b
  reftide bench replay --events 1000000 --rate 8000

\b
All events are first recorded from an archive, as fast as it goes. Then they are
replayed alone three times, against as many live clicks recorded by the same workers
(`again`), then three times beside live clicks: a digest of their rows and
counters must stay, and verify must find all in order. The figure is the p99 of live
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
    with prepared(environment, Asked(tells_commits=True)) as servers:
        archive = {"REFTIDE_ARCHIVE": str(servers.data / "archive")}
        with started(servers, workers, archive) as pids:
            found = asyncio.run(_measure(servers, pids, (events, live, rate), seconds))
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
    servers: BenchServers,
    pids: Sequence[int],
    numbers: tuple[int, int, int],
    seconds: float,
) -> dict[str, Any]:
    """`numbers` are those of events, and of live and replayed events a second."""
    events, live, rate = numbers
    half = len(servers.links) // 2
    async with servers.postgres() as connection:
        tell(f"writing {events:,} clicks into an archive")
        history = await _archived(servers, connection, servers.links[:half], events)
        recovered = await _recover(history)
        speeds = await _speeds(servers, history, pids, servers.links[half:])
        before = await connection.fetchval(_SQL["digest"], history.epochs)
        # On links that no replayed event names.
        beside = partial(_beside, servers, history, servers.links[half:], live)
        alone = [await beside(asyncio.sleep(seconds))]
        during = await beside(_again(history, rate))
        alone += [await beside(asyncio.sleep(seconds))]
        after = await connection.fetchval(_SQL["digest"], history.epochs)
    report = await verify(servers.environment, _VERIFY_SECONDS)
    if before != after or not (report["ok"] and report["settled"]):
        raise Unreachable(
            f"Three replays changed something: {before} {after} {report['mismatches']}",
            "it is a bug.",
        )
    found = {"recovered": recovered, "live_alone": alone, "live_beside": during}
    return {**speeds, **found, "digest": after}


async def _archived(
    servers: BenchServers,
    connection: Connection,
    links: Sequence[LinkRecord],
    events: int,
) -> _History:
    """Write so many clicks as segments."""
    # Shards have equally many, the first ones those that are left over.
    counts = [events // SHARDS + (shard < events % SHARDS) for shard in range(SHARDS)]
    epochs = [
        await connection.fetchval(_SQL["epoch"], shard, clicks)
        for shard, clicks in enumerate(counts)
    ]
    directory = servers.data / "archive"
    directory.mkdir(exist_ok=True)
    write_segments(directory, links, list(zip(epochs, counts, strict=True)))
    return _History(connection, events, epochs, unix_ms())


async def _recover(history: _History) -> dict[str, float]:
    """Record everything from the archive."""
    done = await _replay(history, "missing", _FAST, "inserted")
    per_second = round(history.events / done)
    tell(f"recorded {history.events:,} events in {done:.1f} s, {per_second:,} a second")
    return {"seconds": round(done, 1), "per_second": per_second}


async def _speeds(
    servers: BenchServers,
    history: _History,
    pids: Sequence[int],
    links: Sequence[LinkRecord],
) -> dict[str, Any]:
    """Events a second: what is recorded, replayed; and live clicks, by the same workers."""
    # What recording left to PostgreSQL is not the replay's.
    for step in ("calm_events", "settle"):
        await history.connection.execute(_BENCH_SQL[step], timeout=_CALM_SECONDS)
    took = [await _replay(history, "missing", 0, "unchanged") for _ in range(_TIMES)]
    seconds = median(took)
    again = history.events / seconds
    made = list(islice(envelopes(links), history.events))
    async with servers.redis() as redis:
        both = (pids, ())
        recorded = await backlog(history.connection, redis, both, list(entries(made)))
    live, ratio = recorded.rate, round(again / recorded.rate, 2)
    tell(f"again: {again:,.0f}/s, live: {live:,.0f}/s, ratio {ratio}")
    return {
        "again": {
            "seconds": round(seconds, 1),
            "per_second": round(again),
            "live_per_second": round(live),
            "to_live": ratio,
        }
    }


async def _again(history: _History, rate: int) -> None:
    for mode in _MODES:
        done = await _replay(history, mode, rate, "unchanged")
        tell(f"{mode}: {history.events:,} events in {done:.1f} s, nothing changed")


async def _replay(history: _History, mode: Mode, rate: int, outcome: str) -> float:
    """Replay the history; the seconds that it took.

    Raises Unreachable where it does not end, or not every event has this outcome.
    """
    request = ReplayRequest(
        from_ms=0,
        to_ms=history.until,
        # Not the click that the demo workspace imports.
        dialect=AFFITOR.name,
        rate=rate or None,
    )
    replay_id: UUID = await order(history.connection, mode, request, range(SHARDS))
    moved, read = time.monotonic(), 0
    while True:
        found = await single(history.connection, _SQL["progress"], replay_id)
        if found["read"] > read:
            moved, read = time.monotonic(), found["read"]
        is_late = time.monotonic() - moved > _PATIENCE_SECONDS
        if found["status"] != "running" or is_late:
            break
        await asyncio.sleep(_POLL_SECONDS)
    if (found["scanned"], found[outcome]) != (history.events, history.events):
        raise Unreachable(
            f"Of {history.events:,} events, {mode}: {found}", "see the workers' logs."
        )
    seconds: float = found["seconds"]
    return seconds


async def _beside(
    servers: BenchServers,
    history: _History,
    links: Sequence[LinkRecord],
    rate: int,
    work: Awaitable[None],
) -> dict[str, float]:
    """Live clicks from accepted to recorded while something is done, in milliseconds."""
    async with servers.redis() as redis:
        live = asyncio.create_task(fire(redis, links, rate))
        began = unix_ms() / 1000
        await work
        ended = unix_ms() / 1000
        await tasks.end(live)
    await asyncio.sleep(2 * _POLL_SECONDS)
    latency = _SQL["latency"]
    found = await single(history.connection, latency, history.epochs, began, ended)
    tell(f"live: p50 {found['p50']:.0f} ms, p99 {found['p99']:.0f} ms")
    return {name: round(value, 1) for name, value in found.items()}
