"""`reftide bench outage`: PostgreSQL stopped for minutes, under traffic."""

from pathlib import Path
from typing import Final

import click

from scripts.environment import Environment
from scripts.output import emit, json_option

_MINUTES: Final = 10.0
_RATE: Final = 1000.0
_BESIDE: Final = 20.0
_MINUTE: Final = 60

server_option = click.option(
    "--server",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="PROGRAM",
    help="A redis-server or valkey-server to use in place of the one that comes along.",
)


@click.command(
    epilog="""\b
  reftide bench outage --minutes 10 --rate 1000

\b
Edges and workers run as they would, with nothing in between. PostgreSQL is killed, and
started again after so many minutes; the traffic never stops. Exit code 1: a client was
refused, or waited (p99 above 1 s, one above 2 s), or the books do not agree in the end.
"""
)
@click.option(
    "--minutes",
    type=click.FloatRange(0.01, 600),
    default=_MINUTES,
    show_default=True,
    help="How long PostgreSQL is away.",
)
@click.option(
    "--rate",
    type=click.FloatRange(1, 100_000),
    default=_RATE,
    show_default=True,
    help="Events a second, all the time.",
)
@click.option(
    "--beside",
    type=click.FloatRange(1, 600),
    default=_BESIDE,
    show_default=True,
    metavar="SECONDS",
    help="How long to look at it before, and after it has caught up.",
)
@server_option
@json_option
@click.pass_obj
def command(
    environment: Environment,
    minutes: float,
    rate: float,
    beside: float,
    server: Path | None,
    *,
    as_json: bool,
) -> None:
    """Stop PostgreSQL for minutes; tell what clients noticed, and how it caught up."""
    from scripts.bench.storm.outage import Wanted, endure  # noqa: PLC0415 - as `bench`
    from scripts.bench.storm.timing import show  # noqa: PLC0415 - likewise

    wanted = Wanted(minutes * _MINUTE, rate, beside, server)
    report, kept = endure(environment, wanted, lambda said: click.echo(said, err=True))
    document = {**report.document(), "kept": str(kept) if kept else None}
    emit(as_json, document, lambda: show(document))
    if not report.is_fine:
        raise SystemExit(1)
