"""`reftide bench growth`: as fast with many recorded events as with few."""

import asyncio
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from statistics import median
from typing import Final, Literal

import click
from rich.console import Console
from rich.progress import Progress

from scripts.bench import options
from scripts.bench.environment.processes import reftide
from scripts.bench.environment.runs import Pair, Result, tell
from scripts.bench.environment.servers import BenchServers, prepared
from scripts.bench.load.backlog import recording_rate
from scripts.bench.load.end_to_end import once, publish, warm
from scripts.bench.load.load import choose, clicks
from scripts.bench.load.preload import BYTES_PER_ROW, preload
from scripts.environment import Environment
from scripts.errors import Unreachable

#: Clicks that are recorded for COPY to repeat.
_TEMPLATES: Final = 5000


@options.measurement(
    options.option(
        "rows",
        options.NUMBERS,
        "1000000,20000000",
        "Events recorded before, by commas.",
    ),
    options.option(
        "through",
        click.Choice(["worker", "pipeline"]),
        "worker",
        "One worker by itself, or from request to row.",
    ),
    options.pairs(2),
    options.events(60_000),
    options.seconds(10.0, "How long load lasts, through the pipeline."),
    options.EDGES,
    options.WORKERS,
    epilog="""\b
  reftide bench growth --rows 1000000,20000000

\b
Each size has servers of its own, preloaded by COPY; runs take turns over the sizes.
The ratio is of the greatest size to the least. Twenty million events take some 15 GB
in TMPDIR and some minutes; Ctrl-C takes everything away.
""",
)
def growth(  # noqa: PLR0913 -- what a caller may choose
    environment: Environment,
    *,
    rows: Sequence[int],
    through: Literal["worker", "pipeline"],
    pairs: int,
    events: int,
    seconds: float,
    edges: int,
    workers: int,
) -> Result:
    """Events/s beside millions of recorded events, against beside few."""
    _require_room(sum(rows))

    def rate(servers: BenchServers) -> float:
        if through == "worker":
            return _recorded(servers, events)
        asyncio.run(publish(servers))
        load = choose(clicks(servers.codes, servers.data))
        with reftide(edges, workers)(servers) as contender:
            warm(servers, contender, load)
            return once(servers, contender, load, seconds).rate

    found: dict[int, list[float]] = {size: [] for size in rows}
    with ExitStack() as stack:
        of_size = {size: stack.enter_context(prepared(environment)) for size in rows}
        for size, servers in of_size.items():
            _grow(servers, size)
        for number in range(1, pairs + 1):
            for size in reversed(rows):
                found[size].append(rate(of_size[size]))
                said = f"{found[size][-1]:,.0f}/s beside {size:,} events"
                tell(f"run {number} of {pairs}: {said}")
    few, many = rows[0], rows[-1]
    return Result(
        name="growth",
        unit="events/s",
        pairs=[Pair(*both) for both in zip(found[many], found[few], strict=True)],
        conditions={
            "baseline": f"beside {few:,} events; the figure, beside {many:,}",
            "fewest": few,
            "most": many,
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


def _grow(servers: BenchServers, size: int) -> None:
    _recorded(servers, _TEMPLATES)
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task(f"preloading {size:,} events", total=size)
        asyncio.run(preload(servers, size, lambda more: progress.advance(task, more)))
    # Once more, so that no size is measured with colder caches than another.
    _recorded(servers, _TEMPLATES)


def _recorded(servers: BenchServers, events: int) -> float:
    asyncio.run(publish(servers))
    return recording_rate(servers, servers.links, events)
