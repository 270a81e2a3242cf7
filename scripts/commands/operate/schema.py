"""`reftide schema`: apply schema.sql and say what changed."""

from typing import Final

import click

from scripts.environment import Environment
from scripts.output import Report, counted, reporting
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
@reporting
async def command(environment: Environment) -> Report:
    """Create the tables, or bring those of an earlier version up to date."""
    async with postgres(environment, seconds=_SECONDS) as connection:
        done = await upgrade(connection)
    return Report(done, _sentence(done))


def _sentence(done: dict[str, list[str]]) -> str:
    tables = counted(len(done["tables"]), "table")
    made = [f"{tables} made"] if done["tables"] else []
    if done["columns"]:
        made.append(f"columns added: {', '.join(done['columns'])}")
    return f"Schema applied: {'; '.join(made) or 'nothing was missing'}."
