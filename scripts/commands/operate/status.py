"""`reftide status`: the ledger, the lag, the workers, and how long the memory lasts."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import click

from scripts.commands.screen import screen
from scripts.environment import Environment
from scripts.errors import Unreachable
from scripts.output import emit, json_option
from scripts.services.observe.findings import find
from scripts.services.observe.status import read_status


@click.command(
    epilog="""\b
The balance is accepted - recorded - repeats - quarantined - lost - in flight -
spooled. At rest it is 0; `reftide verify` checks it. While events flow, it may be a
little below 0: what is committed but not yet acknowledged counts twice.
Spooled events wait on the disks of edges that share this data directory.
Lost events left their stream before a worker recorded them.
Edges and workers are asked on their admin ports, which REFTIDE_DATA has of those on
this machine, and REFTIDE_ADMIN_URLS of others.
Exit codes: 0 all is well; 1 something is wrong; 3 a server is away.

\b
  reftide status --json | jq .lag_seconds
"""
)
@click.option(
    "--window",
    type=click.FloatRange(0, 60),
    default=0.25,
    help="Seconds over which throughput is measured; 0: do not.",
)
@click.option(
    "--watch",
    type=click.FloatRange(0.5),
    metavar="SECONDS",
    help="Show it again after so many seconds, until Ctrl-C.",
)
@json_option
@click.pass_context
def command(
    context: click.Context, window: float, watch: float | None, *, as_json: bool
) -> None:
    """Say whether anything is lost, since when, how far behind, what to do, and if it is over.

    Below that: the ledger, memory, spools, edges and shards. A server that is away hides
    what only it knows, and nothing else.
    """
    environment: Environment = context.obj
    if watch and as_json:
        raise click.UsageError("--json prints one document: leave out --watch.")
    answered: dict[str, Any] = {}
    while True:
        status = asyncio.run(read_status(environment, window))
        _remember(answered, status)
        if watch:
            click.clear()
        emit(as_json, status, "\n".join(screen(status)))
        if not watch:
            context.exit(_exit_code(status))
        time.sleep(watch)


def _exit_code(status: Mapping[str, Any]) -> int:
    if not all(status["reachable"].values()):
        return Unreachable.exit_code
    return int(bool(status["findings"]))


def _remember(answered: dict[str, Any], status: dict[str, Any]) -> None:
    """Who keeps watching knows itself when a server last answered."""
    for server, is_reachable in status["reachable"].items():
        if is_reachable:
            answered[server] = status["at"]
        elif server in answered:
            known = status["answered_at"][server]
            status["answered_at"][server] = max(
                known or answered[server], answered[server]
            )
    if not all(status["reachable"].values()):
        status["findings"] = find(status)
