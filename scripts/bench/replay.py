"""`reftide bench replay`: history from the archive, alone and beside live traffic.

First all of it is recorded, from segments of streams that are gone, by worker processes; in
the middle one of them is killed, and another takes its place. Then, beside live clicks, all
of it is replayed three times more. A digest of its rows, customers and counters must stay;
what is compared is how long live clicks take to be recorded, with and without replays.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from os import cpu_count
from statistics import mean
from typing import Any, Final
from uuid import UUID

from redis.asyncio import Redis

from ingest.dialects.affitor import AFFITOR
from scripts.bench.environment.runs import Pair, Result, Tell
from scripts.bench.environment.servers import SHARDS, BenchServers
from scripts.bench.environment.workers import Workers
from scripts.bench.load.history import archive, fire, unix_ms
from scripts.errors import Unreachable
from scripts.servers import Connection, postgres, redis_server, single
from scripts.services.observe.verify import verify
from scripts.services.recover.replays import order
from scripts.sql import statements
from workers.replay.leases import Mode
from workers.replay.request import ReplayRequest

_SQL: Final = statements("bench/replay")
_POLL_SECONDS: Final = 0.5
#: Nothing moved for so long: it will not come. Longer than a dead worker's lease.
_PATIENCE_SECONDS: Final = 60.0
_MODES: Final[tuple[Mode, ...]] = ("missing", "reprocess", "missing")
_FAST: Final = 1_000_000
_VERIFY_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How much to replay, with how many workers, beside how many live clicks a second.

    `rate` bounds the replays beside live traffic, as `reftide replay --rate` does; nothing
    bounds the first. `seconds` is how long live clicks are measured alone, before and after.
    """

    events: int
    workers: int
    live: int
    rate: int
    seconds: float


def measure(servers: BenchServers, wanted: Wanted, tell: Tell) -> Result:
    """The p99 of live clicks beside replays, against that without any.

    The servers's servers must tell commits. Raises Unreachable where a replay does not end,
    or does not come to what it must.
    """
    with ExitStack() as stack:
        workers = Workers(servers, stack)
        for _ in range(wanted.workers):
            workers.start()
        return asyncio.run(_measure(workers, wanted, tell))


async def _measure(workers: Workers, wanted: Wanted, tell: Tell) -> Result:
    servers = workers.servers
    half = len(servers.links) // 2
    async with (
        postgres(servers.environment, seconds=600.0) as connection,
        redis_server(servers.environment) as redis,
    ):
        tell(f"writing {wanted.events:,} clicks into an archive")
        where = servers.data / "archive"
        where.mkdir(exist_ok=True)
        epochs = await archive(connection, where, servers.links[:half], wanted.events)
        workers.until = unix_ms()
        recovered = await _recover(workers, connection, wanted.events, tell)
        before = await connection.fetchval(_SQL["digest"], epochs)
        bench = _Live(workers, connection, redis, wanted.live, epochs, tell)
        alone = [await bench.during(lambda: asyncio.sleep(wanted.seconds))]
        beside = await bench.during(lambda: _again(workers, connection, wanted, tell))
        alone += [await bench.during(lambda: asyncio.sleep(wanted.seconds))]
        after = await connection.fetchval(_SQL["digest"], epochs)
    report = await verify(servers.environment, _VERIFY_SECONDS)
    if before != after or not (report["ok"] and report["settled"]):
        raise Unreachable(
            f"Three replays changed something: {before} {after} {report['mismatches']}",
            "it is a bug.",
        )
    return Result(
        name="replay",
        unit="ms",
        pairs=[Pair(beside["p99"], mean(each["p99"] for each in alone))],
        conditions={
            "baseline": "p99 of such clicks without a replay, before and after",
            "events": wanted.events,
            "workers": wanted.workers,
            "live_per_second": wanted.live,
            "replayed_per_second_at_most": wanted.rate,
            "shards": SHARDS,
            "cores": cpu_count(),
            "digest_before_and_after": after,
        },
        digits=1,
        more={
            "recovered": recovered,
            "live_alone": alone,
            "live_beside": beside,
        },
    )


async def _recover(
    workers: Workers, connection: Connection, events: int, tell: Tell
) -> dict[str, object]:
    """Record everything from the archive; one worker is killed when half of it is done."""
    at_kill: list[int] = []

    def half_done(scanned: int) -> None:
        if not at_kill and scanned >= events // 2:
            at_kill.append(scanned)
            tell(f"killing a worker at {scanned:,} events")
            workers.kill_one()

    done = await _replay(workers, connection, "missing", _FAST, half_done)
    if (done["scanned"], done["inserted"]) != (events, events):
        raise Unreachable(f"Of {events:,} events: {done}", "it is a bug.")
    memory = workers.resident
    early = max(memory[: max(1, len(memory) // 4)])
    tell(
        f"recorded {events:,} events in {done['seconds']:.1f} s,"
        f" {events / done['seconds']:,.0f} a second;"
        f" a worker held at most {early:.0f} MiB in the first quarter,"
        f" {max(memory):.0f} MiB in all"
    )
    return {
        "seconds": round(done["seconds"], 1),
        "per_second": round(events / done["seconds"]),
        "killed_at": at_kill[0],
        "worker_mib_first_quarter": round(early, 1),
        "worker_mib_most": round(max(memory), 1),
    }


async def _again(
    workers: Workers, connection: Connection, wanted: Wanted, tell: Tell
) -> None:
    events = wanted.events
    for mode in _MODES:
        done = await _replay(workers, connection, mode, wanted.rate, lambda _: None)
        if (done["scanned"], done["unchanged"]) != (events, events):
            raise Unreachable(f"Replayed again ({mode}): {done}", "it is a bug.")
        tell(f"{mode}: {events:,} events in {done['seconds']:.1f} s, nothing changed")


async def _replay(
    workers: Workers,
    connection: Connection,
    mode: Mode,
    rate: int,
    watch: Callable[[int], None],
) -> dict[str, Any]:
    """Order a replay of the history, and wait for its end."""
    request = ReplayRequest(
        from_ms=0,
        to_ms=workers.until,
        # Not the click that the demo workspace imports.
        dialect=AFFITOR.name,
        rate=rate,
    )
    replay_id: UUID = await order(connection, mode, request, SHARDS)
    moved, read = time.monotonic(), 0
    while True:
        found = await single(connection, _SQL["progress"], replay_id)
        workers.look()
        watch(found["scanned"])
        if found["status"] != "running":
            return found
        if found["read"] > read:
            moved, read = time.monotonic(), found["read"]
        elif time.monotonic() - moved > _PATIENCE_SECONDS:
            raise Unreachable(f"The replay stands still: {found}", "see the workers.")
        await asyncio.sleep(_POLL_SECONDS)


@dataclass(frozen=True, slots=True)
class _Live:
    """Live clicks on links that no replayed event names."""

    workers: Workers
    connection: Connection
    redis: Redis
    rate: int
    epochs: Sequence[int]
    tell: Tell

    async def during(self, work: Callable[[], Any]) -> dict[str, float]:
        """From accepted to recorded while something is done, in milliseconds."""
        links = self.workers.servers.links
        async with self._firing(links[len(links) // 2 :]):
            began = time.time_ns() / 1e9
            await work()
            ended = time.time_ns() / 1e9
        await asyncio.sleep(2 * _POLL_SECONDS)
        found = await single(
            self.connection, _SQL["latency"], list(self.epochs), began, ended
        )
        self.tell(f"live: p50 {found['p50']:.0f} ms, p99 {found['p99']:.0f} ms")
        return {name: round(value, 1) for name, value in found.items()}

    @asynccontextmanager
    async def _firing(self, links: Sequence[Any]) -> AsyncIterator[None]:
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(fire(self.redis, links, self.rate, stop))
            try:
                yield
            finally:
                stop.set()
