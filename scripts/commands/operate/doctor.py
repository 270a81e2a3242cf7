"""`reftide doctor`: how the servers are set up, and what to change."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Final

import click

from scripts.environment import Environment
from scripts.errors import Unreachable
from scripts.output import Report, printable, reporting, table
from scripts.services.maintain.doctor import REACH, examine

_COLUMNS: Final = ("level", "server", "check", "found")
#: Where sentences read well, in a pipe too.
_WIDTH: Final = 100


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
        lambda: _show(checks),
        int(not ok) if is_reached else Unreachable.exit_code,
    )


def _show(checks: Sequence[Mapping[str, str]]) -> None:
    table(checks, _COLUMNS, most=_WIDTH)
    for each in checks:
        if each["advice"]:
            said = (
                f"{each['level']}: {each['server']}, {each['check']}: {each['advice']}."
            )
            click.echo(fill(printable(said), _WIDTH, subsequent_indent="  "))
