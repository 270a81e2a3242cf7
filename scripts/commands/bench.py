"""`reftide bench`: measures Reftide and a baseline in turn, on servers of its own."""

from collections.abc import Mapping
from typing import Any, Final

import click

from ingest.contracts.telemetry import configure_logging
from scripts.bench.ground import prepared
from scripts.bench.runs import Result
from scripts.commands import outage
from scripts.environment import Environment
from scripts.output import emit, facts, json_option, table

_RUNS: Final = 5
_SECONDS: Final = 3
_EVENTS: Final = 20_000
_STORM_EVENTS: Final = 20_000
_STORM_KILLS: Final = 12
_STORM_RATE: Final = 800.0

runs_option = click.option(
    "--runs",
    type=click.IntRange(1, 100),
    default=_RUNS,
    show_default=True,
    help="Pairs of runs: Reftide, then the baseline.",
)


@click.group(
    epilog="""\b
Nothing has to run: a measurement starts servers of its own, with every fsync on, in a
temporary directory (TMPDIR says where; its disk is measured too). Leave the machine
alone meanwhile. The ratio is the median of the pairs' ratios.
"""
)
def command() -> None:
    """Measure against a baseline, in turn."""
    # The pipeline's line for every batch would drown the progress.
    configure_logging("warning")


@command.command()
@runs_option
@click.option(
    "--seconds",
    type=click.IntRange(1, 60),
    default=_SECONDS,
    show_default=True,
    help="Length of a run.",
)
@json_option
@click.pass_obj
def edge(environment: Environment, runs: int, seconds: int, *, as_json: bool) -> None:
    """Requests/s of one edge process against a bare aiohttp handler."""
    from scripts.bench.edge import measure  # noqa: PLC0415 - as `cli` imports commands

    with prepared(environment) as ground:
        result = measure(ground, runs, seconds, _tell)
    _show(result, as_json=as_json)


@command.command()
@runs_option
@click.option(
    "--events",
    type=click.IntRange(1, 200_000),
    default=_EVENTS,
    show_default=True,
    help="Clicks that a run records.",
)
@json_option
@click.pass_obj
def worker(environment: Environment, runs: int, events: int, *, as_json: bool) -> None:
    """Events/s of one worker process against COPY of the same rows."""
    from scripts.bench.worker import measure  # noqa: PLC0415 - likewise

    with prepared(environment) as ground:
        result = measure(ground, runs, events, _tell)
    _show(result, as_json=as_json)


@command.command(
    epilog="""\b
  reftide bench storm --events 20000 --kills 12 --seed 1
  reftide bench storm --server /usr/bin/redis-server

\b
Everything runs as it would, through proxies that break connections. Exit code 1: an
event that was accepted is lost, or one counts twice, or the books do not balance; the
client's journal and all logs are kept then. The same seed is the same storm, but for
what the machine does.
"""
)
@click.option(
    "--events",
    type=click.IntRange(1, 10_000_000),
    default=_STORM_EVENTS,
    show_default=True,
    help="Clicks, leads and sales to send.",
)
@click.option(
    "--kills",
    type=click.IntRange(0, 10_000),
    default=_STORM_KILLS,
    show_default=True,
    help="Faults: processes killed, stopped and frozen, connections broken.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Which storm.")
@click.option(
    "--rate",
    type=click.FloatRange(1, 100_000),
    default=_STORM_RATE,
    show_default=True,
    help="Events a second.",
)
@outage.server_option
@json_option
@click.pass_obj
def storm(environment: Environment, /, *, as_json: bool, **asked: Any) -> None:
    """Break everything under traffic; prove that nothing was lost or counted twice."""
    from scripts.bench.storm.report import show  # noqa: PLC0415 - likewise
    from scripts.bench.storm.run import Wanted, rage  # noqa: PLC0415 - likewise
    from scripts.bench.storm.view import shown  # noqa: PLC0415 - likewise

    wanted = Wanted(**asked)
    with shown(wanted) as under_way:
        outcome, kept = rage(environment, under_way)
    document = {**outcome.document(), "kept": str(kept) if kept else None}
    emit(as_json, document, lambda: show(document))
    if not outcome.is_fine:
        raise SystemExit(1)


command.add_command(outage.command, "outage")


def _tell(sentence: str) -> None:
    click.echo(sentence, err=True)


def _show(result: Result, *, as_json: bool) -> None:
    document = result.document()
    emit(as_json, document, lambda: _for_people(document))


def _for_people(document: Mapping[str, Any]) -> None:
    columns = ("name", "unit", "figure", "baseline", "ratio", "spread", "runs")
    table([document], columns)
    facts(document["conditions"], "Conditions")
