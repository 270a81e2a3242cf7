"""`reftide bench replay`: history from the archive, alone and beside live traffic."""

from typing import Any, Final

import click

from scripts.bench.commands import options
from scripts.bench.environment.servers import Asked, prepared
from scripts.environment import Environment
from scripts.output import json_option
from workers.replay.request import DEFAULT_RATE


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
@options.count("events", 60_000, "Clicks in the archive.", least=100)
@options.count("workers", 2, "Processes that replay and record.", most=64)
@options.count("live", 200, "Live clicks a second.", most=100_000)
@options.count("rate", DEFAULT_RATE, "Replayed events a second, at most.")
@options.seconds(15.0, "How long live clicks are measured alone, twice.")
@json_option
@click.pass_obj
def replay(environment: Environment, /, *, as_json: bool, **asked: Any) -> None:
    """History replayed beside live traffic: what it does to the traffic."""
    from scripts.bench.replay import Wanted, measure  # noqa: PLC0415 - as in `cli`

    with prepared(environment, Asked(tells_commits=True)) as servers:
        result = measure(servers, Wanted(**asked), options.tell)
    options.show(result, as_json=as_json)


COMMANDS: Final = (replay,)
