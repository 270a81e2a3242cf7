"""`reftide bench pipeline`, `hot-link` and `latency`: Reftide as it runs, under load."""

from pathlib import Path
from typing import Any, Final, Literal

import click

from scripts.bench.environment.contenders import cores, require_fastapi
from scripts.bench.environment.servers import Asked, prepared
from scripts.commands.develop.bench_options import (
    connections_option,
    draw,
    events_option,
    hurried,
    pairs_option,
    processes_options,
    quick_option,
    seconds_option,
    show,
    svg_option,
    tell,
    upto,
)
from scripts.environment import Environment
from scripts.output import json_option

_PAIRS: Final = 5
_SECONDS: Final = 5.0
_EVENTS: Final = 60_000
_MOST_EVENTS: Final = 2_000_000
_MOST_BATCH: Final = 1000
#: Reftide's processes on a machine whose cores the servers and the load use too.
_EDGES: Final = max(1, cores() // 2)
_WORKERS: Final = max(1, cores() // 4)


@click.command(
    epilog="""\b
  reftide bench pipeline --against fastapi
  reftide bench pipeline --against arq
  reftide bench pipeline --batch 100

\b
Load lasts --seconds; a run lasts until every event that was answered with 200 is
committed. Either side has the machine to itself. `fastapi`: FastAPI on uvicorn, a
process per core, that writes the same rows with asyncpg and then answers. `arq`:
aiohttp that queues a job per event, and an arq worker per core on its defaults.
With --batch, Reftide gets so many events in a request; the baseline one, always.
"""
)
@click.option(
    "--against",
    "rival",
    type=click.Choice(["fastapi", "arq"]),
    default="fastapi",
    show_default=True,
    help="The baseline.",
)
@click.option(
    "--batch",
    type=click.IntRange(1, _MOST_BATCH),
    default=1,
    show_default=True,
    help="Events in a request to Reftide.",
)
@pairs_option(_PAIRS)
@seconds_option(_SECONDS, "How long a run's load lasts.")
@connections_option
@processes_options(_EDGES, _WORKERS)
@quick_option
@json_option
@click.pass_obj
def pipeline(
    environment: Environment,
    /,
    *,
    rival: Literal["fastapi", "arq"],
    as_json: bool,
    **asked: Any,
) -> None:
    """Events/s from request to row, against a program that does the same."""
    from scripts.bench.pipeline import measure  # noqa: PLC0415 - as `cli` imports

    if rival == "fastapi":
        require_fastapi()
    with prepared(environment) as ground:
        result = measure(ground, rival, **hurried(asked), tell=tell)
    show(result, as_json=as_json)


@click.command(
    "hot-link",
    epilog="""\b
  reftide bench hot-link --workers 4 --svg workers.svg

\b
The streams are filled while the workers are stopped; what is timed is from when they
go on to the last commit. The curve has other numbers of workers.
""",
)
@pairs_option(_PAIRS)
@events_option(_EVENTS, _MOST_EVENTS)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="Worker processes.",
)
@svg_option
@quick_option
@json_option
@click.pass_obj
def hot_link(
    environment: Environment, /, *, svg: Path | None, as_json: bool, **asked: Any
) -> None:
    """Events/s with all traffic on one link, against a thousand links."""
    from scripts.bench.hot_link import LINKS, drawn, measure  # noqa: PLC0415 - likewise

    counts = upto(cores()) if svg else ()
    with prepared(environment, Asked(links=LINKS)) as ground:
        result = measure(ground, counts=counts, **hurried(asked), tell=tell)
    draw(svg, drawn, result)
    show(result, as_json=as_json)


@click.command(
    epilog="""\b
  reftide bench latency --svg latency.svg

\b
First both are saturated for --seconds. Then requests come at random moments, at a
share of that, and count their waiting. An event's time is from the millisecond of its
id to its commit (Postgres keeps it), and what a commit then took to reach the disk.
The curve has other shares of saturation too. The unit is ms: a ratio above 1 is worse.
"""
)
@pairs_option(3)
@seconds_option(10.0, "Length of a run.")
@click.option(
    "--share",
    type=click.FloatRange(0.01, 1),
    default=0.5,
    show_default=True,
    help="Of saturation.",
)
@processes_options(_EDGES, _WORKERS)
@svg_option
@quick_option
@json_option
@click.pass_obj
def latency(
    environment: Environment, /, *, svg: Path | None, as_json: bool, **asked: Any
) -> None:
    """From accepted to recorded: the p99 at half of what saturates."""
    from scripts.bench.latency import SHARES, drawn, measure  # noqa: PLC0415 - likewise

    require_fastapi()
    shares = SHARES if svg else ()
    with prepared(environment, Asked(tells_commits=True)) as ground:
        result = measure(ground, shares=shares, **hurried(asked), tell=tell)
    draw(svg, drawn, result)
    show(result, as_json=as_json)


COMMANDS: Final = (pipeline, hot_link, latency)
