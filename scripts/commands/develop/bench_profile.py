"""`reftide bench profile`: where an edge or a worker spends its time."""

from pathlib import Path
from typing import Final, Literal

import click

from scripts.bench.environment.servers import prepared
from scripts.commands.develop.bench_options import draw, tell
from scripts.environment import Environment
from scripts.output import emit, facts, json_option, table

_SECONDS: Final = 10
_COLUMNS: Final = ("function", "file", "self", "total")


@click.command(
    epilog="""\b
  reftide bench profile edge --svg edge.svg
  reftide bench profile worker --seconds 20

\b
One edge and one worker run on servers of their own, under all the load that the edge
takes; py-spy looks into one of them from outside, 500 times a second. Shares are of the
event loop's time: `self` in the function, `total` with what it called. What a library
written in C does counts for the function that called it.
"""
)
@click.argument("kind", type=click.Choice(["edge", "worker"]))
@click.option(
    "--seconds",
    type=click.IntRange(1, 600),
    default=_SECONDS,
    show_default=True,
    help="For how long to look.",
)
@click.option(
    "--svg",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE",
    help="Draw it, as a flame graph.",
)
@json_option
@click.pass_obj
def profile(
    environment: Environment,
    /,
    *,
    kind: Literal["edge", "worker"],
    seconds: int,
    svg: Path | None,
    as_json: bool,
) -> None:
    """Where an edge or a worker spends its time; as a flame graph, too."""
    from scripts.bench.profile import document, measure, require  # noqa: PLC0415 - as `cli`
    from scripts.bench.stacks import drawn  # noqa: PLC0415 - likewise

    require()
    with prepared(environment) as ground:
        loop = measure(ground, kind, seconds=seconds, tell=tell)
    found = document(loop, kind, seconds)

    title = f"Where {'an edge' if kind == 'edge' else 'a worker'} spends its time"
    said = f"{loop.samples:,} samples under full load; width is time; orange is Reftide's own code"
    draw(svg, lambda stacks: drawn(stacks, title, said), loop)

    def for_people() -> None:
        table(found["functions"], _COLUMNS)
        facts({"samples": found["samples"], **found["conditions"]}, "Conditions")

    emit(as_json, found, for_people)


COMMANDS: Final = (profile,)
