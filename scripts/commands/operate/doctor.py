"""`reftide doctor`: how the servers are set up, and what to change."""

import asyncio
from typing import Final

import click

from scripts.environment import Environment
from scripts.errors import Unreachable
from scripts.output import emit, json_option, table
from scripts.services.maintain.doctor import REACH, examine

_COLUMNS: Final = ("level", "server", "check", "found", "advice")


@click.command(
    epilog="""\b
wrong: events can be lost, or nothing works. warn: read the advice, then decide.
Exit code 1 if anything is wrong, with --strict also if there is a warning; 3 if a
server cannot be reached. The other server is checked anyway.
"""
)
@click.option("--strict", is_flag=True, help="Warnings count as wrong.")
@json_option
@click.pass_context
def command(context: click.Context, *, strict: bool, as_json: bool) -> None:
    """Check versions, settings, tables, clocks and disks that Reftide relies on."""
    environment: Environment = context.obj
    found = asyncio.run(examine(environment))
    checks = [check.row() for check in found]
    bad = {"wrong", "warn"} if strict else {"wrong"}
    ok = not any(check.level in bad for check in found)
    emit(as_json, {"ok": ok, "checks": checks}, lambda: table(checks, _COLUMNS))
    if any(check.check == REACH for check in found):
        context.exit(Unreachable.exit_code)
    if not ok:
        context.exit(1)
