"""`reftide bench cost`, `growth` and `capacity`: what events take, and what many would."""

import sys
from collections.abc import Callable
from typing import Any, Final

import click
import orjson

from scripts.bench.capacity import RATES, Assumptions, Costs, table
from scripts.bench.commands import options
from scripts.bench.commands.options import NUMBERS
from scripts.environment import Environment
from scripts.errors import UsageProblem
from scripts.output import emit, facts, json_option
from scripts.output import table as show_table

_QUICK_ROWS: Final = 5000
_USUAL: Final = Assumptions()


@click.command(
    epilog="""\b
  reftide bench cost --json > cost.json
  reftide bench capacity --json-from cost.json

\b
The figure is the memory of every key in Redis that an event adds or enlarges, its
baseline the bytes of the request's JSON body and User-Agent. Beside them: what Redis
and Postgres keep in all, by table and index; seconds of a core for a million events, by
process; memory of a process at rest and under full load. Processes that share memory
share its count.
"""
)
@options.pairs(3)
@options.seconds(10.0)
@options.processes
@options.measurement
def cost(environment: Environment, /, **asked: Any) -> None:
    """Bytes, processor time and memory for an event."""
    from scripts.bench.cost import measure  # noqa: PLC0415 - as in `cli`

    options.run(environment, measure, asked)


@click.command(
    epilog="""\b
  reftide bench growth --rows 1000000,20000000

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
@options.option(
    "--through",
    click.Choice(["worker", "pipeline"]),
    "worker",
    "One worker by itself, or from request to row.",
)
@options.pairs(2)
@options.events(60_000)
@options.seconds(10.0, "How long load lasts, through the pipeline.")
@options.processes
@options.measurement
def growth(
    environment: Environment,
    /,
    *,
    sizes: tuple[int, ...],
    as_json: bool,
    **asked: Any,
) -> None:
    """Events/s beside millions of recorded events, against beside few."""
    from scripts.bench.growth import measure  # noqa: PLC0415 - likewise

    if asked["quick"]:
        sizes = tuple(min(size, _QUICK_ROWS * at) for at, size in enumerate(sizes, 1))
    processes = (asked.pop("edges"), asked.pop("workers"))
    wanted = {**options.hurried(asked), "processes": processes}
    result = measure(environment, sizes, **wanted, tell=options.tell)
    options.show(result, as_json=as_json)


def _assumed(
    name: str, kind: click.FloatRange | click.IntRange, said: str
) -> Callable[[Any], Any]:
    """An option for one of `Assumptions`, with what is usual as its default."""
    shown = f"--{name.replace('_', '-')}"
    return options.option(shown, kind, getattr(_USUAL, name), said)


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
@options.option(
    "--rates", NUMBERS, ",".join(map(str, RATES)), "Events a second, by commas."
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


COMMANDS: Final = (cost, growth, capacity)
