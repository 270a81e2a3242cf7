"""`reftide bench cost`, `growth`, `capacity` and `targets`: what events take, and what of it.

The last two measure nothing: they count on with what others have measured.
"""

import sys
from pathlib import Path
from typing import Any, Final, Literal

import click
import orjson
from typing_extensions import override

from scripts.bench.capacity import RATES, Assumptions, Costs, table
from scripts.bench.contenders import cores
from scripts.bench.ground import prepared
from scripts.bench.targets import markdown
from scripts.bench.targets import rows as target_rows
from scripts.commands.measuring import (
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
from scripts.output import Refused, emit, facts, json_option
from scripts.output import table as show_table

_SECONDS: Final = 10.0
_EVENTS: Final = 60_000
_MOST_EVENTS: Final = 2_000_000
_MOST_ROWS: Final = 1_000_000_000
_QUICK_ROWS: Final = 5000
_USUAL: Final = Assumptions()
_EDGES: Final = max(1, cores() // 2)
_WORKERS: Final = max(1, cores() // 4)


class _Numbers(click.ParamType[tuple[int, ...]]):
    """Whole numbers above zero, ascending, by commas; `_` may part their digits."""

    name = "numbers"

    @override
    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            found = tuple(int(each) for each in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r}: write whole numbers with commas between them")
        if min(found) < 1 or list(found) != sorted(set(found)):
            self.fail(f"{value!r}: write them ascending, each above zero")
        if max(found) > _MOST_ROWS:
            self.fail(f"{value!r}: at most {_MOST_ROWS:,}")
        return found


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
    type=_Numbers(),
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


@click.command(
    epilog="""\b
  reftide bench cost --json > cost.json
  reftide bench capacity --json-from cost.json --rates 1000,1000000

\b
Counts what was measured for one event up to so many a second, and simulates bursts and
an outage of Postgres of ten minutes. Nothing is measured. The output says what is
assumed; the options change it.
"""
)
@click.option(
    "--json-from",
    "file",
    type=click.File("rb"),
    required=True,
    metavar="FILE",
    help="What `reftide bench cost --json` said; - for standard input.",
)
@click.option(
    "--rates",
    type=_Numbers(),
    default=",".join(map(str, RATES)),
    show_default=True,
    help="Events a second, by commas.",
)
@click.option(
    "--busy",
    type=click.FloatRange(0.05, 1),
    default=_USUAL.busy,
    show_default=True,
    help="How busy a core may be.",
)
@click.option(
    "--efficiency",
    type=click.FloatRange(0.05, 1),
    default=_USUAL.efficiency,
    show_default=True,
    help="What each of many processes does of what one alone does.",
)
@click.option(
    "--database-cores",
    type=click.IntRange(1, 1024),
    default=_USUAL.database_cores,
    show_default=True,
    help="Of one PostgreSQL at most.",
)
@click.option(
    "--wal-mb",
    type=click.FloatRange(1),
    default=_USUAL.wal_mb,
    show_default=True,
    help="MB/s that one PostgreSQL can write ahead.",
)
@json_option
def capacity(
    file: Any, rates: tuple[int, ...], *, as_json: bool, **assumed: Any
) -> None:
    """What so many events a second need, from what one was measured to cost."""
    try:
        costs = Costs.of(orjson.loads(file.read()))
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise Refused(
            f"{file.name} is not what `reftide bench cost --json` says: {error}",
            "run `reftide bench cost --json > cost.json` and name that file.",
        ) from error
    rows = table(costs, Assumptions(**assumed), rates)
    document = {"costs": costs, "assumptions": assumed, "needs": rows}

    def for_people() -> None:
        show_table(rows, list(rows[0]), "What so many events a second need")
        facts(assumed, "Assumed")
        sys.stdout.write("What else is assumed: docs/performance.md, Capacity.\n")

    emit(as_json, document, for_people)


@click.command(
    epilog="""\b
  reftide bench edge --json > edge.json
  reftide bench targets edge.json worker.json pipeline.json

\b
Takes what the measurements said with --json, in any order. Nothing is measured. Exit
code 1 where a bound is missed; what was not measured is left open.
"""
)
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.File("rb")
)
@json_option
@click.pass_context
def targets(context: click.Context, files: tuple[Any, ...], *, as_json: bool) -> None:
    """What was measured beside its bounds, as the table of docs/performance.md."""
    try:
        listed = target_rows(orjson.loads(file.read()) for file in files)
    except (orjson.JSONDecodeError, AttributeError, KeyError) as error:
        raise Refused(
            f"A file is not what a measurement says with --json: {error}",
            "name files that `reftide bench NAME --json` wrote.",
        ) from error
    emit(as_json, listed, lambda: click.echo(markdown(listed), nl=False))
    if any(row["met"] is False for row in listed):
        context.exit(1)


COMMANDS: Final = (cost, growth, capacity, targets)
