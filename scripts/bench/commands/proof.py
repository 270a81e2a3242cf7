"""`reftide bench compare` and `storm`: against a former version, and against faults."""

from pathlib import Path
from typing import Any, Final

import click

from scripts.bench.commands import options
from scripts.environment import Environment
from scripts.output import emit, json_option


@click.command(
    epilog="""\b
  reftide bench compare 8120ea1
  reftide bench compare HEAD~1 --pairs 5 --json

\b
The commit is checked out into a git worktree with an environment of its own; both are
removed in the end. Either version has servers of its own, and they take turns. `core`:
processor time of one Affitor click on the edge, from the parsed request to the bytes
for the stream, beside the functions and modules of ours that it passes. `cpu`: of an
event, over all processes. `bytes`: of every key in Redis, for an event, over the
request's JSON body and User-Agent. The figure is the core's.
"""
)
@click.argument("commit")
@options.pairs(5)
@options.seconds(5.0)
@options.measurement
def compare(environment: Environment, /, **asked: Any) -> None:
    """What a click costs, against another commit."""
    from scripts.bench.compare.measure import measure  # noqa: PLC0415 - as in `cli`

    as_json = asked.pop("as_json")
    wanted = options.hurried(asked)
    options.show(measure(environment, **wanted, tell=options.tell), as_json=as_json)


@click.command(
    epilog="""\b
  reftide bench storm --events 20000 --kills 12 --seed 1
  reftide bench storm --server /usr/bin/redis-server

\b
Everything runs as it would, through proxies that break connections. Exit code 1: an
accepted event is lost, or one counts twice, or the ledger does not balance; the
client's journal and all logs are kept then. The same seed is the same storm, but for
what the machine does.
"""
)
@options.count("events", 20_000, "Clicks, leads and sales to send.")
@options.count(
    "kills",
    12,
    "Faults: processes killed, stopped and frozen, connections broken.",
    least=0,
    most=10_000,
)
@options.option("--seed", click.INT, 1, "Which storm.")
@options.amount("rate", 800.0, "Events a second.", least=1)
@click.option(
    "--server",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="PROGRAM",
    help="A redis-server or valkey-server to use in place of the one that comes along.",
)
@json_option
@click.pass_obj
def storm(environment: Environment, /, *, as_json: bool, **asked: Any) -> None:
    """Break everything under traffic; prove that nothing was lost or counted twice."""
    from scripts.bench.storm.report import show  # noqa: PLC0415 - likewise
    from scripts.bench.storm.run import Wanted, run  # noqa: PLC0415 - likewise
    from scripts.bench.storm.view import shown  # noqa: PLC0415 - likewise

    wanted = Wanted(**asked)
    with shown(wanted) as under_way:
        outcome, kept = run(environment, under_way)
    document = {**outcome.document(), "kept": str(kept) if kept else None}
    emit(as_json, document, lambda: show(document))
    if not outcome.is_fine:
        raise SystemExit(1)


COMMANDS: Final = (compare, storm)
