"""`reftide bench replay`: history from the archive, alone and beside live traffic."""

from typing import Any, Final

import click

from scripts.bench.environment.servers import Asked, prepared
from scripts.commands.develop.bench_options import seconds_option, show, tell
from scripts.environment import Environment
from scripts.output import json_option
from workers.replay.request import DEFAULT_RATE

_EVENTS: Final = 60_000
_MOST_EVENTS: Final = 10_000_000
_WORKERS: Final = 2
_LIVE: Final = 200
_SECONDS: Final = 15.0


@click.command(
    epilog="""\b
  reftide bench replay --events 1000000 --rate 8000

\b
All events are first recorded from an archive, as fast as it goes; a worker is killed in
the middle. Then they are replayed three times beside live clicks: a digest of their rows
and counters must stay, and verify must find all in order. The figure is the p99 of live
clicks from their id to their commit, the baseline that without replays.
"""
)
@click.option(
    "--events",
    type=click.IntRange(100, _MOST_EVENTS),
    default=_EVENTS,
    show_default=True,
    help="Clicks in the archive.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=_WORKERS,
    show_default=True,
    help="Processes that replay, and record what is live.",
)
@click.option(
    "--live",
    type=click.IntRange(1, 100_000),
    default=_LIVE,
    show_default=True,
    help="Live clicks a second.",
)
@click.option(
    "--rate",
    type=click.IntRange(1, 1_000_000),
    default=DEFAULT_RATE,
    show_default=True,
    help="Replayed events a second beside them, at most.",
)
@seconds_option(_SECONDS, "How long live clicks are measured alone, twice.")
@json_option
@click.pass_obj
def replay(environment: Environment, /, *, as_json: bool, **asked: Any) -> None:
    """History replayed beside live traffic: what it does to the traffic."""
    from scripts.bench.replay import Wanted, measure  # noqa: PLC0415 - as `cli`

    with prepared(environment, Asked(tells_commits=True)) as ground:
        result = measure(ground, Wanted(**asked), tell)
    show(result, as_json=as_json)


COMMANDS: Final = (replay,)
