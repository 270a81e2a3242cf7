"""`reftide schema`: apply schema.sql and say what changed."""

from collections.abc import Mapping
from typing import Any, Final

import click

from scripts.environment import Environment
from scripts.output import Report, counted, reporting
from scripts.servers import postgres
from scripts.services.maintain.emails import store_emails
from scripts.services.maintain.schema import upgrade

#: An index on a large table takes its time.
_SECONDS: Final = 120.0


@click.command(
    epilog="""\b
Apply it as often as you like: it runs as one transaction and changes only what
is missing. Then it stores e-mail addresses as REFTIDE_STORE_EMAIL says, page by
page, beside workers. Give the URL of a database that exists:
  DATABASE_URL=postgresql://reftide@db/reftide reftide schema
"""
)
@reporting
async def command(environment: Environment) -> Report:
    """Create the tables, or bring those of an earlier version up to date."""
    async with postgres(environment, seconds=_SECONDS) as connection:
        done: dict[str, Any] = {**await upgrade(connection)}
        choice = environment.store_email()
        done["addresses"] = await store_emails(connection, choice)
    return Report(done, _sentence(done))


def _sentence(done: Mapping[str, Any]) -> str:
    tables = counted(len(done["tables"]), "table")
    made = [f"{tables} made"] if done["tables"] else []
    if done["columns"]:
        made.append(f"columns added: {', '.join(done['columns'])}")
    if done["addresses"]:
        made.append(
            f"{counted(done['addresses'], 'e-mail address', 'e-mail addresses')} stored anew"
        )
    return f"Schema applied: {'; '.join(made) or 'nothing was missing'}."
