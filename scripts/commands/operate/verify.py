"""`reftide verify`: check every counter and the ledger."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import click

from scripts.environment import Environment
from scripts.errors import Unreachable
from scripts.output import Report, cell, counted, printable, reporting, table
from scripts.services.observe.verify import verify

_COLUMNS: Final = ("what", "key", "counter", "expected", "found")
#: What there may be one of, where the name is not merely without its s.
_SINGULAR: Final = {"entries": "entry", "ledger": "ledger"}


@click.command(
    epilog="""\b
It compares the counters and amounts of links, enrolments and days with the sums over
their events; the ledger with the rows; the entries that Redis still holds with the rows
they became; and at rest, the ledger with the streams. Events that were found lost in
the last seven days are differences too.
Under traffic it checks everything but the balance of the ledger; --at-rest exits 1 then.
Of several servers of streams one may be away: the entries of the others are compared,
and the balance is not.
Exit code 0 if everything is equal, else 1; 3 if a server is away.
"""
)
@click.option(
    "--wait",
    type=click.FloatRange(0, 3600),
    default=10.0,
    help="Seconds to wait for events in flight.",
)
@click.option(
    "--at-rest", is_flag=True, help="Exit 1 if events are still in flight after --wait."
)
@reporting
async def command(environment: Environment, wait: float, *, at_rest: bool) -> Report:
    """Check every counter and the ledger against what was recorded."""
    report = await verify(environment, wait)
    is_ok = report["ok"] and (report["settled"] or not at_rest)
    code = Unreachable.exit_code if report["away"] else int(not is_ok)
    return Report(report, partial(show, report), code)


def show(report: Mapping[str, Any]) -> None:
    """Print a report for people. `reftide demo` ends with it."""
    if report["mismatches"]:
        table(report["mismatches"], _COLUMNS, "Mismatches")
        more = report["mismatch_count"] - len(report["mismatches"])
        differences = counted(report["mismatch_count"], "difference")
        click.echo(f"{differences} ({more} not shown).")
    else:
        what = "All equal" if report["settled"] else "Counters and rows are equal"
        click.echo(f"{what} ({_sizes(report['compared'])}).")
    for each in report["away"]:
        click.echo(_away(each))
    if not report["settled"] and not report["away"]:
        flying = counted(report["in_flight"], "event")
        click.echo(
            f"Not at rest ({flying} in flight): the balance of the ledger was not checked."
            " Run it again when it is calm, or let it --wait longer."
        )


def _away(server: Mapping[str, Any]) -> str:
    since = server["answered_at"]
    last = f" It last answered at {cell(since)}." if since else ""
    return printable(
        f"{server['server']}, which has shards {cell(server['shards'])}, cannot be used:"
        f" {server['problem'].rstrip('.')}.{last} Neither its entries nor the balance of the ledger"
        f" were compared.\nWhat to do: {server['remedy']}"
    )


def _sizes(compared: Mapping[str, int]) -> str:
    known = [
        counted(count, _SINGULAR.get(name, name[:-1]), name)
        for name, count in compared.items()
    ]
    return ", ".join(known).replace("_", " ")
