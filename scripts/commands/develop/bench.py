"""`reftide bench`: measures Reftide and a baseline in turn, on servers of its own."""

from pathlib import Path
from typing import Any, Final, Literal

import click

from ingest.contracts.telemetry import configure_logging
from scripts.bench.environment.contenders import cores
from scripts.bench.environment.servers import Asked, prepared
from scripts.commands.develop import (
    bench_capacity,
    bench_cost,
    bench_outage,
    bench_pipeline,
    bench_profile,
    bench_replay,
)
from scripts.commands.develop.bench_options import (
    connections_option,
    draw,
    events_option,
    hurried,
    pairs_option,
    quick_option,
    seconds_option,
    show,
    svg_option,
    tell,
    upto,
)
from scripts.environment import Environment
from scripts.output import emit, json_option

_PAIRS: Final = 5
_SECONDS: Final = 3.0
_EVENTS: Final = 20_000
_MOST_EVENTS: Final = 200_000
_STORM_EVENTS: Final = 20_000
_STORM_KILLS: Final = 12
_STORM_RATE: Final = 800.0


@click.group(
    epilog="""\b
Nothing has to run: a measurement starts servers of its own, with every fsync on, in a
temporary directory (TMPDIR says where; its disk is measured too), and takes it away.
Leave the machine alone meanwhile. A run of Reftide and one of the baseline make a
pair; the ratio is the median of the pairs' ratios, its spread the least and greatest.

\b
Load comes from wrk where it is installed, else from processes of our own; the output
says what they could send at most.

\b
Exit codes: 0 measured, 1 a storm or an outage lost something, 2 asked in a wrong way,
3 it could not be measured: a server, a baseline's library, room on the disk.
"""
)
def command() -> None:
    """Measure against a baseline, in turn; or break everything, and see it hold."""
    # The pipeline's line for every batch would drown the progress.
    configure_logging("warning")


@command.command(
    epilog="""\b
  reftide bench edge --pairs 5 --fsync always

\b
The edge does all that it does: validation, the directory, a signed click id, and no
answer before Valkey's. The baseline parses the same JSON and answers as many bytes.
The curve has other numbers of processes, of either.
"""
)
@pairs_option(_PAIRS)
@seconds_option(_SECONDS, "Length of a run.")
@connections_option
@click.option(
    "--fsync",
    type=click.Choice(["everysec", "always"]),
    default="everysec",
    show_default=True,
    help="When Valkey writes its append-only file to the disk.",
)
@svg_option
@quick_option
@json_option
@click.pass_obj
def edge(
    environment: Environment,
    /,
    *,
    fsync: Literal["everysec", "always"],
    svg: Path | None,
    as_json: bool,
    **asked: Any,
) -> None:
    """Requests/s of one edge process against a bare aiohttp handler."""
    from scripts.bench.edge import drawn, measure  # noqa: PLC0415 - as in `cli`

    processes = upto(cores()) if svg else ()
    with prepared(environment, Asked(appendfsync=fsync)) as ground:
        result = measure(ground, processes=processes, **hurried(asked), tell=tell)
    draw(svg, drawn, result)
    show(result, as_json=as_json)


@command.command(
    epilog="""\b
  reftide bench worker --svg worker.svg

\b
The worker reads, resolves, enriches, writes, counts, keeps the books and acknowledges;
the baseline copies the finished rows. Batches, connections and indexes are alike.
The curve repeats it with batches of other sizes.
"""
)
@pairs_option(_PAIRS)
@events_option(_EVENTS, _MOST_EVENTS)
@svg_option
@quick_option
@json_option
@click.pass_obj
def worker(
    environment: Environment, /, *, svg: Path | None, as_json: bool, **asked: Any
) -> None:
    """Events/s of one worker process against COPY of the same rows."""
    from scripts.bench.worker import SIZES, drawn, measure  # noqa: PLC0415 - likewise

    sizes = SIZES if svg else ()
    with prepared(environment) as ground:
        result = measure(ground, sizes=sizes, **hurried(asked), tell=tell)
    draw(svg, drawn, result)
    show(result, as_json=as_json)


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
@bench_outage.server_option
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


command.add_command(bench_outage.command, "outage")
for measurement in (
    *bench_pipeline.COMMANDS,
    *bench_cost.COMMANDS,
    *bench_capacity.COMMANDS,
    *bench_replay.COMMANDS,
    *bench_profile.COMMANDS,
):
    command.add_command(measurement)
