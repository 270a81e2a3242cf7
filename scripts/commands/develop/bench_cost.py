"""`reftide bench cost` and `growth`: what events take, and whether many of them slow it down."""

from pathlib import Path
from typing import Any, Final, Literal

import click

from scripts.bench.environment.contenders import cores
from scripts.bench.environment.servers import prepared
from scripts.commands.develop.bench_options import (
    NUMBERS,
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
)
from scripts.environment import Environment
from scripts.output import json_option

_SECONDS: Final = 10.0
_EVENTS: Final = 60_000
_MOST_EVENTS: Final = 2_000_000
_QUICK_ROWS: Final = 5000
_EDGES: Final = max(1, cores() // 2)
_WORKERS: Final = max(1, cores() // 4)


@click.command(
    epilog="""\b
  reftide bench cost --json > cost.json
  reftide bench capacity --json-from cost.json

\b
The figure is the memory of the streams for an event, its baseline the bytes of the
request's JSON body and User-Agent. Beside them: what Redis and Postgres keep in all,
by table and index; seconds of a core for a million events, by process; memory of a
process at rest and under full load. Processes that share memory share its count.
"""
)
@pairs_option(3)
@seconds_option(_SECONDS, "How long a run's load lasts.")
@processes_options(_EDGES, _WORKERS)
@quick_option
@json_option
@click.pass_obj
def cost(environment: Environment, /, *, as_json: bool, **asked: Any) -> None:
    """Bytes, processor time and memory for an event."""
    from scripts.bench.cost import measure  # noqa: PLC0415 - as `cli` imports commands

    with prepared(environment) as ground:
        result = measure(ground, **hurried(asked), tell=tell)
    show(result, as_json=as_json)


@click.command(
    epilog="""\b
  reftide bench growth --rows 1000000,20000000 --svg growth.svg

\b
Each size has servers of its own, preloaded by COPY; runs take turns over the sizes.
The ratio is of the greatest size to the least. Twenty million events take some 15 GB
in TMPDIR and some minutes; Ctrl-C takes everything away.
"""
)
@click.option(
    "--rows",
    "sizes",
    type=NUMBERS,
    default="1000000,20000000",
    show_default=True,
    help="Events recorded before, by commas.",
)
@click.option(
    "--through",
    type=click.Choice(["worker", "pipeline"]),
    default="worker",
    show_default=True,
    help="One worker by itself, or from request to row.",
)
@pairs_option(2)
@events_option(_EVENTS, _MOST_EVENTS)
@seconds_option(_SECONDS, "How long load lasts, through the pipeline.")
@processes_options(_EDGES, _WORKERS)
@svg_option
@quick_option
@json_option
@click.pass_obj
def growth(  # noqa: PLR0913 - options
    environment: Environment,
    /,
    *,
    sizes: tuple[int, ...],
    through: Literal["worker", "pipeline"],
    edges: int,
    workers: int,
    svg: Path | None,
    as_json: bool,
    **asked: Any,
) -> None:
    """Events/s beside millions of recorded events, against beside few."""
    from scripts.bench.growth import drawn, measure  # noqa: PLC0415 - likewise

    if asked["quick"]:
        sizes = tuple(min(size, _QUICK_ROWS * at) for at, size in enumerate(sizes, 1))
    result = measure(
        environment,
        sizes,
        through=through,
        processes=(edges, workers),
        **hurried(asked),
        tell=tell,
    )
    draw(svg, drawn, result)
    show(result, as_json=as_json)


COMMANDS: Final = (cost, growth)
