"""`reftide reconcile`: make every counter the sum of its events again."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import click

from scripts.environment import Environment
from scripts.output import counted, emit, json_option, table
from scripts.services.recover.reconcile import reconcile

_COLUMNS: Final = ("what", "key", "counter", "expected", "found")


@click.command(
    epilog="""\b
Repaired are the counters of links, enrolments and days, and what sales are worth in each
currency: they become the sums over their events. It may run at any time: what workers
count meanwhile is kept. The books are evidence and are never repaired; `reftide verify`
compares them.
Exit code 0 where every counter is right now; 1 where one is not: with --dry-run what
would be repaired, else what belongs to a link or an enrolment that is gone.
"""
)
@click.option("--dry-run", is_flag=True, help="Only say what is wrong.")
@json_option
@click.pass_context
def command(context: click.Context, *, dry_run: bool, as_json: bool) -> None:
    """Repair counters from the events, and report what was wrong."""
    environment: Environment = context.obj
    report = asyncio.run(reconcile(environment, dry_run=dry_run))
    emit(as_json, report, lambda: _show(report))
    if report["found_count" if dry_run else "left_count"]:
        context.exit(1)


def _show(report: Mapping[str, Any]) -> None:
    if report["dry_run"]:
        _list(report, "found", "Would be repaired")
        click.echo(f"{counted(report['found_count'], 'counter')} to be repaired.")
        return
    _list(report, "repaired", "Repaired")
    _list(report, "left", "Still not as it must be")
    click.echo(f"{counted(report['repaired_count'], 'counter')} repaired.")
    if report["left_count"]:
        click.echo(
            f"{counted(report['left_count'], 'counter')} could not be repaired: the link"
            " or the enrolment is gone, or somebody else wrote to it meanwhile."
        )


def _list(report: Mapping[str, Any], name: str, title: str) -> None:
    if not report[name]:
        return
    table(report[name], _COLUMNS, title)
    more = report[f"{name}_count"] - len(report[name])
    if more:
        click.echo(f"{more:,} more.")
