"""`reftide bench growth`: as fast with many recorded events as with few.

There are servers of their own for every size, preloaded by COPY (see `preload`), and the runs
take turns over the sizes. What a run records stays, and is next to nothing beside the rest.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from statistics import median
from typing import Final, Literal

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from scripts.bench.environment.contenders import cores, reftide
from scripts.bench.environment.runs import Pair, Result, Tell
from scripts.bench.environment.servers import SECONDS, BenchServers, prepared
from scripts.bench.load.drain import drained, fill
from scripts.bench.load.end_to_end import once, warm
from scripts.bench.load.load import choose
from scripts.bench.load.preload import BYTES_PER_ROW, Advance, preload
from scripts.bench.loops import runner
from scripts.bench.pipeline import clicks
from scripts.environment import Environment
from scripts.errors import Unreachable
from scripts.servers import postgres, redis_server
from scripts.sql import statements
from workers.enrich import Enrich, build_enrichers
from workers.publish.publisher import publish_if_missing

Through = Literal["worker", "pipeline"]

_SQL: Final = statements("bench/environment/bench")
#: Clicks that are recorded for COPY to repeat.
_TEMPLATES: Final = 5000


def measure(  # noqa: PLR0913 -- what a caller may choose
    environment: Environment,
    sizes: Sequence[int],
    *,
    through: Through,
    pairs: int,
    events: int,
    seconds: float,
    processes: tuple[int, int],
    tell: Tell,
) -> Result:
    """Events a second at every size, `pairs` times; the ratio is the last to the first.

    `processes` are edges and workers, where it goes through the pipeline.
    """
    _require_room(sum(sizes))
    with ExitStack() as stack:
        of_size = {size: stack.enter_context(prepared(environment)) for size in sizes}
        for size, servers in of_size.items():
            with _progress(f"preloading {size:,} events") as advance:
                _grow(servers, size, advance)
        rate: Callable[[BenchServers], float] = (
            partial(_worker, events=events, enrich=build_enrichers(None))
            if through == "worker"
            else partial(_pipeline, seconds=seconds, processes=processes)
        )
        found: dict[int, list[float]] = {size: [] for size in sizes}
        for number in range(1, pairs + 1):
            for size in reversed(sizes):
                found[size].append(rate(of_size[size]))
                tell(
                    f"run {number} of {pairs}: {found[size][-1]:,.0f}/s"
                    f" beside {size:,} events"
                )
    return Result(
        name="growth",
        unit="events/s",
        pairs=[
            Pair(*both) for both in zip(found[sizes[-1]], found[sizes[0]], strict=True)
        ],
        conditions={
            "baseline": f"beside {sizes[0]:,} events; the figure, beside {sizes[-1]:,}",
            "rows": list(sizes),
            "fewest": sizes[0],
            "most": sizes[-1],
            "through": through,
            "cores": cores(),
            **({"events": events} if through == "worker" else {"seconds": seconds}),
        },
        more={
            "curve": [
                {"recorded": size, "figure": round(median(rates))}
                for size, rates in found.items()
            ]
        },
    )


def _require_room(count: int) -> None:
    folder = tempfile.gettempdir()
    free, needed = shutil.disk_usage(folder).free, count * BYTES_PER_ROW
    if free < needed:
        raise Unreachable(
            f"{count:,} events may take {needed / 1e9:.0f} GB in {folder}, which has"
            f" {free / 1e9:.0f} GB left.",
            "set TMPDIR to a directory on a larger disk, or ask for fewer --rows.",
        )


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int], Advance]]:
    """A bar on standard error; called with how much there is to do."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    ) as progress:

        def begin(total: int) -> Advance:
            task = progress.add_task(what, total=total)
            return lambda more: progress.advance(task, more)

        yield begin


def _grow(servers: BenchServers, size: int, advance: Callable[[int], Advance]) -> None:
    enrich = build_enrichers(None)

    async def record() -> None:
        async with redis_server(servers.environment) as redis:
            await redis.flushdb()
            await fill(redis, servers.links, _TEMPLATES)
        await drained(servers.environment, enrich, _TEMPLATES)

    async def grow() -> None:
        await record()
        await preload(servers, size, advance(size))
        # Once more, so that no size is measured with colder caches than another.
        await record()

    with runner() as loop:
        loop.run(grow())


def _worker(servers: BenchServers, *, events: int, enrich: Enrich) -> float:
    """Events a second of one worker beside what is there."""

    async def work() -> float:
        async with (
            redis_server(servers.environment) as redis,
            postgres(servers.environment, seconds=SECONDS) as connection,
        ):
            await redis.flushdb()
            await fill(redis, servers.links, events)
            await connection.execute(_SQL["settle"])
        return events / await drained(servers.environment, enrich, events)

    with runner() as loop:
        return loop.run(work())


def _pipeline(
    servers: BenchServers, *, seconds: float, processes: tuple[int, int]
) -> float:
    """Events a second from end to end beside what is there."""
    asyncio.run(_published(servers))
    load = choose(clicks(servers))
    with reftide(*processes)(servers) as contender:
        warm(servers, contender, load.send)
        return once(servers, contender, load.send, seconds).rate


async def _published(servers: BenchServers) -> None:
    async with (
        redis_server(servers.environment) as redis,
        postgres(servers.environment, seconds=SECONDS) as connection,
    ):
        await redis.flushdb()
        await publish_if_missing(connection, redis)
