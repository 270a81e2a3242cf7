"""`reftide doctor`: how the servers are set up, and what to change."""

from typing import Final

import click

from scripts.environment import Environment
from scripts.errors import Unreachable
from scripts.output import Report, reporting, table
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
@reporting
async def command(environment: Environment, *, strict: bool) -> Report:
    """Check versions, settings, tables, clocks and disks that Reftide relies on."""
    found = await examine(environment)
    checks = [check.row() for check in found]
    bad = {"wrong", "warn"} if strict else {"wrong"}
    ok = not any(check.level in bad for check in found)
    is_reached = all(check.check != REACH for check in found)
    return Report(
        {"ok": ok, "checks": checks},
        lambda: table(checks, _COLUMNS),
        int(not ok) if is_reached else Unreachable.exit_code,
    )
