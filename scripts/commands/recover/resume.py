"""`reftide resume`: resume recording after a pause."""

import click

from scripts.environment import Environment
from scripts.output import Report, cell, is_quiet, reporting
from scripts.servers import postgres
from scripts.services.maintain import pauses


@click.command(
    epilog="""\b
Workers pause recording when they meet a bug, or when 50 entries in a row, or 100 of the
last 1,000, cannot be recorded because of their data. Nothing is lost: entries wait in the
streams. `reftide status` says why they paused.

\b
  reftide resume --fixed "workers upgraded to 1.4.1"
  reftide resume --fixed "garbage of a test; may go to quarantine" --allow 500
"""
)
@click.option("--fixed", help="What was wrong; asked for if it is not given.")
@click.option(
    "--allow",
    type=click.IntRange(0, 1_000_000),
    default=0,
    help="So many more bad entries each worker may quarantine before it counts again.",
)
@reporting
async def command(environment: Environment, fixed: str | None, allow: int) -> Report:
    """End a pause; every worker resumes within a second."""
    async with postgres(environment) as connection:
        found = await pauses.lasting(connection)
    if found is not None and fixed is None:
        if is_quiet():
            raise click.UsageError("--json asks nothing: give --fixed.")
        click.echo(f"Paused since {cell(found['paused_at'])}: {cell(found['detail'])}")
        fixed = click.prompt("What was fixed")
    async with postgres(environment) as connection:
        ended = await pauses.resume(connection, fixed or "", allow)
    was = "Nothing is paused."
    if ended is not None:
        was = f"Resumed; it was paused since {cell(ended['paused_at'])}."
    return Report({"was_paused": ended is not None, "pause": ended}, was)
