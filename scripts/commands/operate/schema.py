"""`reftide schema`: apply schema.sql and say what changed."""

import asyncio
from typing import Final

import click

from scripts.environment import Environment
from scripts.output import counted, emit, json_option
from scripts.servers import postgres
from scripts.services.maintain.schema import upgrade

#: An index on a large table takes its time.
_SECONDS: Final = 120.0


@click.command(
    epilog="""\b
Apply it as often as you like: it runs as one transaction and changes only what
is missing. Give the URL of a database that exists:
  DATABASE_URL=postgresql://reftide@db/reftide reftide schema
"""
)
@json_option
@click.pass_obj
def command(environment: Environment, *, as_json: bool) -> None:
    """Create the tables, or bring those of an earlier version up to date."""
    done = asyncio.run(_apply(environment))
    emit(as_json, done, lambda: click.echo(_sentence(done)))


async def _apply(environment: Environment) -> dict[str, list[str]]:
    async with postgres(environment, seconds=_SECONDS) as connection:
        return await upgrade(connection)


def _sentence(done: dict[str, list[str]]) -> str:
    tables = counted(len(done["tables"]), "table")
    made = [f"{tables} made"] if done["tables"] else []
    if done["columns"]:
        made.append(f"columns added: {', '.join(done['columns'])}")
    return f"Schema applied: {'; '.join(made) or 'nothing was missing'}."
