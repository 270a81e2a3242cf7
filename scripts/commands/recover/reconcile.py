"""`reftide reconcile`: rebuild counters from their events."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import click

from scripts.environment import Environment
from scripts.output import Report, counted, reporting, table
from scripts.services.recover.reconcile import reconcile

_COLUMNS: Final = ("what", "key", "counter", "expected", "found")


@click.command(
    epilog="""\b
It sets the counters and amounts of links, enrolments and days to the sums over their
events. Run it at any time: what workers count meanwhile is kept. It never changes the
ledger, which is evidence; `reftide verify` checks it.
Exit code 0 if every counter is right now, else 1: with --dry-run, counters to be repaired;
without, counters of a link or an enrolment that is gone.
"""
)
@click.option("--dry-run", is_flag=True, help="Only report what is wrong.")
@reporting
async def command(environment: Environment, *, dry_run: bool) -> Report:
    """Repair counters from the events, and report what was wrong."""
    report = await reconcile(environment, dry_run=dry_run)
    is_wrong = report["found_count" if dry_run else "left_count"]
    return Report(report, partial(_show, report), int(bool(is_wrong)))


def _show(report: Mapping[str, Any]) -> None:
    if report["dry_run"]:
        _list(report, "found", "Would be repaired")
        click.echo(f"{counted(report['found_count'], 'counter')} to be repaired.")
        return
    _list(report, "repaired", "Repaired")
    _list(report, "left", "Still wrong")
    click.echo(f"{counted(report['repaired_count'], 'counter')} repaired.")
    if report["left_count"]:
        click.echo(
            f"{counted(report['left_count'], 'counter')} could not be repaired: the link"
            " or the enrolment is gone, or something else wrote to it meanwhile."
        )


def _list(report: Mapping[str, Any], name: str, title: str) -> None:
    if not report[name]:
        return
    table(report[name], _COLUMNS, title)
    more = report[f"{name}_count"] - len(report[name])
    if more:
        click.echo(f"{more:,} more.")
