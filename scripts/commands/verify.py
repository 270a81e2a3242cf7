"""`reftide verify`: prove that every counter and the books are right."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import click

from scripts.environment import Environment
from scripts.output import emit, json_option, table
from scripts.verification import verify

_COLUMNS: Final = ("what", "key", "counter", "expected", "found")


@click.command(
    epilog="""\b
Compared are: the counters of links, enrolments and days with the sums over their
events; the books with the rows that were written; the entries that Redis still
holds with the rows that tell of them; and at rest, the books with the streams.
Exit code 0 where all of it is equal, 1 where not.
"""
)
@click.option(
    "--wait",
    type=click.FloatRange(0, 3600),
    default=10.0,
    show_default=True,
    help="Seconds to wait for events in flight.",
)
@json_option
@click.pass_context
def command(context: click.Context, wait: float, *, as_json: bool) -> None:
    """Compare every counter and the books with what was recorded."""
    environment: Environment = context.obj
    report = asyncio.run(verify(environment, wait))
    emit(as_json, report, lambda: show(report))
    if not report["ok"]:
        context.exit(1)


def show(report: Mapping[str, Any]) -> None:
    """Print a report for people. `reftide demo` ends with it."""
    if report["mismatches"]:
        table(report["mismatches"], _COLUMNS, "Not as it must be")
        more = report["mismatch_count"] - len(report["mismatches"])
        click.echo(f"{report['mismatch_count']} differences ({more} not shown).")
    else:
        sizes = ", ".join(f"{size} {what}" for what, size in report["compared"].items())
        click.echo(f"All equal ({sizes}).".replace("_", " "))
    if not report["settled"]:
        click.echo(
            f"{report['in_flight']} events are in flight: the balance was not judged."
        )
