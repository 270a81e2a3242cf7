"""`reftide resume`: resume recording after a pause."""

import asyncio
from collections.abc import Mapping
from typing import Any

import click

from scripts.environment import Environment
from scripts.output import cell, emit, json_option
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
    show_default=True,
    help="So many more bad entries each worker may quarantine before it counts again.",
)
@json_option
@click.pass_obj
def command(
    environment: Environment, fixed: str | None, allow: int, *, as_json: bool
) -> None:
    """End a pause; every worker resumes within a second."""
    found = asyncio.run(_lasting(environment))
    if found is not None and fixed is None:
        if as_json:
            raise click.UsageError("--json asks nothing: give --fixed.")
        click.echo(f"Paused since {cell(found['paused_at'])}: {cell(found['detail'])}")
        fixed = click.prompt("What was fixed")
    ended = asyncio.run(_resume(environment, fixed or "", allow))
    document = {"was_paused": ended is not None, "pause": ended}
    emit(as_json, document, lambda: click.echo(_sentence(ended)))


def _sentence(ended: Mapping[str, Any] | None) -> str:
    if ended is None:
        return "Nothing is paused."
    return f"Resumed; it was paused since {cell(ended['paused_at'])}."


async def _lasting(environment: Environment) -> dict[str, Any] | None:
    async with postgres(environment) as connection:
        return await pauses.lasting(connection)


async def _resume(
    environment: Environment, fixed: str, allow: int
) -> dict[str, Any] | None:
    async with postgres(environment) as connection:
        return await pauses.resume(connection, fixed, allow)
