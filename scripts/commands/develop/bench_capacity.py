"""`reftide bench capacity` and `targets`: they count on with what others have measured."""

import sys
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click
import orjson

from scripts.bench.capacity import RATES, Assumptions, Costs, table
from scripts.bench.targets import markdown, rows
from scripts.commands.develop.bench_options import NUMBERS
from scripts.errors import UsageProblem
from scripts.output import emit, facts, json_option
from scripts.output import table as show_table

_USUAL: Final = Assumptions()
_Command = TypeVar("_Command", bound=Callable[..., object])


def _assumed(
    name: str, kind: click.FloatRange | click.IntRange, said: str
) -> Callable[[_Command], _Command]:
    """An option for one of `Assumptions`, with what is usual as its default."""
    return click.option(
        f"--{name.replace('_', '-')}",
        type=kind,
        default=getattr(_USUAL, name),
        show_default=True,
        help=said,
    )


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
    type=NUMBERS,
    default=",".join(map(str, RATES)),
    show_default=True,
    help="Events a second, by commas.",
)
@_assumed("busy", click.FloatRange(0.05, 1), "How busy a core may be.")
@_assumed(
    "efficiency",
    click.FloatRange(0.05, 1),
    "What each of many processes does of what one alone does.",
)
@_assumed("database_cores", click.IntRange(1, 1024), "Of one PostgreSQL at most.")
@_assumed("wal_mb", click.FloatRange(1), "MB/s that one PostgreSQL can write ahead.")
@json_option
def capacity(
    file: Any, rates: tuple[int, ...], *, as_json: bool, **assumed: Any
) -> None:
    """What so many events a second need, from what one was measured to cost."""
    try:
        costs = Costs.of(orjson.loads(file.read()))
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise UsageProblem(
            f"{file.name} is not what `reftide bench cost --json` says: {error}",
            "run `reftide bench cost --json > cost.json` and name that file.",
        ) from error
    needs = table(costs, Assumptions(**assumed), rates)
    document = {"costs": costs, "assumptions": assumed, "needs": needs}

    def for_people() -> None:
        show_table(needs, list(needs[0]), "What so many events a second need")
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
        listed = rows(orjson.loads(file.read()) for file in files)
    except (orjson.JSONDecodeError, AttributeError, KeyError) as error:
        raise UsageProblem(
            f"A file is not what a measurement says with --json: {error}",
            "name files that `reftide bench NAME --json` wrote.",
        ) from error
    emit(as_json, listed, lambda: click.echo(markdown(listed), nl=False))
    if any(row["met"] is False for row in listed):
        context.exit(1)


COMMANDS: Final = (capacity, targets)
