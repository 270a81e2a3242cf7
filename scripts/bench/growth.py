"""`reftide bench growth`: as fast with many recorded events as with few.

Clicks that are recorded are written again and again under new ids and times, evenly over
the thirty days before now, each with a customer. Counters stay as they were: no measurement
reads them.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Sequence
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
from scripts.bench.load.events import unix_ms
from scripts.bench.load.load import choose, clicks
from scripts.bench.load.recording import once, publish, recording_rate, warm
from scripts.environment import Environment
from scripts.errors import Unreachable
from scripts.servers import Connection, postgres
from scripts.sql import statements

_SQL: Final = statements("bench/environment/bench")
_DAYS_MS: Final = 30 * 86_400_000
_PART: Final = 100_000
#: For a part, or a VACUUM of everything.
_PRELOAD_SECONDS: Final = 3600.0
#: What a recorded click takes on the disk with its customer, its indexes and its share of
#: what is written ahead; generously.
_BYTES_PER_ROW: Final = 1000

#: Of a row by its number: the millisecond, and a UUIDv7 (RFC 9562) of it; $3 is the first
#: millisecond, $4 how many rows share the thirty days.
_MOMENT: Final = f"($3::bigint + number * {_DAYS_MS} / $4::bigint)"
_ID: Final = f"""(lpad(to_hex({_MOMENT}), 12, '0') || '7' || lpad(to_hex(number & 4095), 3, '0')
    || '8' || left(md5(number::text), 15))::uuid"""

#: Is told how many rows more there are.
Advance = Callable[[int], None]
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
    free, needed = shutil.disk_usage(folder).free, count * _BYTES_PER_ROW
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


async def preload(servers: BenchServers, count: int, advance: Advance) -> None:
    """Have so many events more, and a customer for each; statistics and all."""
    begin = unix_ms() - _DAYS_MS - 60_000
    async with postgres(servers.environment, seconds=_PRELOAD_SECONDS) as connection:
        for month in (begin, begin + _DAYS_MS):
            await connection.execute(_SQL["partition"], month / 1000)
        events = await _repeating(connection, "events", "at")
        customers = await _repeating(connection, "customers", "seen_at")
        for first in range(0, count, _PART):
            last = min(first + _PART, count) - 1
            for statement in (events, customers):
                await connection.execute(statement, first, last, begin, count)
            advance(last - first + 1)
        for step in ("calm_events", "calm_customers", "settle"):
            await connection.execute(_SQL[step])


async def _repeating(connection: Connection, table: str, moment: str) -> str:
    """The statement that writes the rows of now again, by their numbers."""
    await connection.execute(
        f"create temp table old_{table} as"  # noqa: S608 -- names of ours
        f" select *, row_number() over () - 1 as place from {table}"
    )
    count = await connection.fetchval(f"select count(*) from old_{table}")  # noqa: S608
    names = [row["attname"] for row in await connection.fetch(_SQL["columns"], table)]
    new = {"id": _ID, moment: f"to_timestamp({_MOMENT} / 1000.0)"}
    values = ", ".join(new.get(name, f"old.{name}") for name in names)
    return (
        f"insert into {table} ({', '.join(names)}) select {values}"  # noqa: S608 -- ours
        " from generate_series($1::bigint, $2::bigint) as number"
        f" join old_{table} as old on old.place = number % {count}"
    )
