"""`reftide bench hot-link`: all traffic on one link against the same over a thousand.

Workers are processes, as they run; the streams are filled while they are stopped, and what
is timed is from when they go on to the last commit.
"""

import asyncio
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final

from ingest.contracts.directory import LinkRecord
from scripts.bench import svg
from scripts.bench.environment.contenders import cores, workers_of
from scripts.bench.environment.runs import Result, Tell, paired
from scripts.bench.environment.servers import SECONDS, SHARDS, BenchServers
from scripts.bench.load.drain import LEAST_RATE, append, entries
from scripts.bench.load.end_to_end import empty
from scripts.errors import Unreachable
from scripts.servers import Connection, postgres, redis_server
from scripts.sql import statements

_SQL: Final = statements("bench/environment/bench")
_LOOK_AGAIN_SECONDS: Final = 0.01

#: How many links the ground has to have.
LINKS: Final = 1000


def measure(
    ground: BenchServers,
    *,
    pairs: int,
    events: int,
    workers: int,
    counts: Sequence[int],
    tell: Tell,
) -> Result:
    """Events a second that so many workers record, `pairs` times so many clicks.

    Each number of workers in `counts` is measured too, once, for a curve.
    """
    found = paired(
        partial(_rate, ground, ground.links[:1], events, workers),
        partial(_rate, ground, ground.links, events, workers),
        pairs,
        tell,
    )
    curve = []
    for count in counts:
        curve.append(
            {
                "workers": count,
                "figure": round(_rate(ground, ground.links[:1], events, count)),
                "baseline": round(_rate(ground, ground.links, events, count)),
            }
        )
        tell(
            "{workers} workers: {figure:,}/s, baseline {baseline:,}/s".format(
                **curve[-1]
            )
        )
    conditions = {
        "baseline": f"the same clicks, spread over {len(ground.links)} links",
        "events": events,
        "workers": workers,
        "shards": SHARDS,
        "cores": cores(),
    }
    return Result(
        name="hot-link",
        unit="events/s",
        pairs=found,
        conditions=conditions,
        more={"curve": curve} if curve else {},
    )


def drawn(result: Result) -> str:
    """The curve of a result as an SVG."""
    curve: Sequence[dict[str, float]] = result.document()["curve"]
    return svg.line_chart(
        svg.Axes(title="Workers beside one another", x="workers", y="events/s"),
        [
            svg.Series(name, [(point["workers"], point[key]) for point in curve])
            for name, key in (("one link", "figure"), ("a thousand", "baseline"))
        ],
    )


def _rate(
    ground: BenchServers, links: Sequence[LinkRecord], events: int, workers: int
) -> float:
    empty(ground)
    # Made before, so that the workers are not stopped for long: what they wait for must
    # not look late to them.
    made = list(entries(links, events))
    with workers_of(ground, workers) as pids:
        with _stopped(pids):
            asyncio.run(_filled(ground, made))
        began = time.perf_counter()
        asyncio.run(_recorded(ground, events))
        return events / (time.perf_counter() - began)


@contextmanager
def _stopped(pids: Sequence[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def _filled(ground: BenchServers, made: Sequence[tuple[str, bytes]]) -> None:
    async with (
        redis_server(ground.environment) as redis,
        postgres(ground.environment, seconds=SECONDS) as connection,
    ):
        await append(redis, made)
        await connection.execute(_SQL["settle"])


async def _recorded(ground: BenchServers, events: int) -> None:
    deadline = time.monotonic() + SECONDS + events / LEAST_RATE
    async with postgres(ground.environment, seconds=SECONDS) as connection:
        while (found := await recorded(connection)) < events:
            if time.monotonic() > deadline:
                raise Unreachable(
                    f"The workers recorded {found:,} of {events:,} events in time.",
                    "it is a bug: see what `reftide worker` says of such clicks.",
                )
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def recorded(connection: Connection) -> int:
    """How many events the ledger counts."""
    count: int = await connection.fetchval(_SQL["recorded"])
    return count
