"""`reftide bench worker`: one worker process against COPY of the same rows.

See `draining` for what is timed, `copying` for what the baseline does. The curve repeats it
with other batch sizes, the same for both.
"""

import time
from collections.abc import Sequence
from os import cpu_count
from statistics import median
from typing import Final

from uuid_utils.compat import uuid7

from scripts.bench import svg
from scripts.bench.baselines.copy_rows import Recorded, batches, copy, read_back
from scripts.bench.environment.runs import Pair, Result, Tell, paired
from scripts.bench.environment.servers import LINKS, SECONDS, SHARDS, BenchServers
from scripts.bench.load.drain import HABITS, drained, fill
from scripts.bench.load.end_to_end import forget
from scripts.bench.loops import runner
from scripts.errors import Unreachable
from scripts.servers import postgres, redis_server
from scripts.sql import statements
from workers.enrich import build_enrichers
from workers.stream.shard import ReaderConfig

_SQL: Final = statements("bench/environment/bench")
#: Of the curve; the greatest is what REFTIDE_BATCH_SIZE allows.
SIZES: Final = (50, 100, 250, 500, 1000, 2500, 5000)


def measure(
    ground: BenchServers, *, pairs: int, events: int, sizes: Sequence[int], tell: Tell
) -> Result:
    """Events a second of one process, `pairs` times so many clicks.

    For each of the `sizes` it is measured too, for a curve.
    """
    with runner() as loop:
        bench = _Bench(ground, events)
        tell(f"recording {events:,} clicks for COPY to repeat")
        loop.run(bench.work(HABITS.batch_size))
        recorded = loop.run(bench.recorded())

        def pairs_at(size: int) -> list[Pair]:
            return paired(
                lambda: loop.run(bench.work(size)),
                lambda: loop.run(bench.copy(recorded, size)),
                pairs,
                tell,
            )

        found = pairs_at(HABITS.batch_size)
        curve = []
        for size in sizes:
            tell(f"batches of {size:,}:")
            curve.append(_point(size, pairs_at(size)))
    conditions = {
        "baseline": "COPY of the rows of events and customers, links' counters updated",
        "events": events,
        "links": LINKS,
        "shards": SHARDS,
        "batch_size": HABITS.batch_size,
        "new_customers": len(recorded.customers),
        "cores": cpu_count(),
    }
    return Result(
        name="worker",
        unit="events/s",
        pairs=found,
        conditions=conditions,
        more={"curve": curve} if curve else {},
    )


def drawn(result: Result) -> str:
    """The curve of a result as an SVG."""
    curve: Sequence[dict[str, float]] = result.document()["curve"]
    return svg.line_chart(
        svg.Axes(
            title="Events recorded by one worker",
            x="events in a batch",
            y="events/s",
            is_logarithmic=True,
        ),
        [
            svg.Series(name, [(point["batch_size"], point[key]) for point in curve])
            for name, key in (("Reftide", "figure"), ("COPY", "baseline"))
        ],
    )


def _point(size: int, pairs: Sequence[Pair]) -> dict[str, float]:
    return {
        "batch_size": size,
        "figure": round(median(pair.figure for pair in pairs)),
        "baseline": round(median(pair.baseline for pair in pairs)),
        "ratio": round(median(pair.ratio for pair in pairs), 3),
    }


class _Bench:
    """One worker's and one COPY's way of recording the same clicks, from nothing."""

    def __init__(self, ground: BenchServers, events: int) -> None:
        self._ground = ground
        self._events = events
        # As in a worker, what is learnt of a user agent outlives the batch.
        self._enrich = build_enrichers(None)

    async def work(self, batch_size: int) -> float:
        """Events a second. Raises Unreachable where not all of them were recorded."""
        environment = self._ground.environment
        habits = ReaderConfig(name=HABITS.name, batch_size=batch_size)
        async with (
            postgres(environment, seconds=SECONDS) as connection,
            redis_server(environment) as redis,
        ):
            await forget(connection)
            await redis.flushdb()
            await fill(redis, self._ground.links, self._events)
            await connection.execute(_SQL["settle"])
            seconds = await drained(environment, self._enrich, self._events, habits)
            found = await connection.fetchval(_SQL["count"])
        if found != self._events:
            raise Unreachable(
                f"The worker recorded {found} of {self._events} events.",
                "it is a bug: see what `reftide worker` says of such clicks.",
            )
        return self._events / seconds

    async def recorded(self) -> Recorded:
        environment = self._ground.environment
        async with postgres(environment, seconds=SECONDS) as connection:
            return await read_back(connection)

    async def copy(self, recorded: Recorded, batch_size: int) -> float:
        """Events a second of COPY; making its rows is not counted."""
        prepared = list(batches(recorded, batch_size, uuid7))
        environment = self._ground.environment
        async with postgres(environment, seconds=SECONDS) as connection:
            await forget(connection)
            await connection.execute(_SQL["settle"])
            began = time.perf_counter()
            await copy(connection, recorded, prepared)
            return self._events / (time.perf_counter() - began)
