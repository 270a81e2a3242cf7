"""`reftide workspaces`: who owns links, programs and keys."""

import asyncio
from typing import Any, Final

import asyncpg
import click
from uuid_utils.compat import uuid7

from scripts.environment import Environment
from scripts.output import UsageProblem, emit, json_option, table
from scripts.servers import postgres, rows
from scripts.services.administer import names
from scripts.sql import statements

_SQL: Final = statements("services/administer/workspaces")
_COLUMNS: Final = (
    "name", "programs", "partners", "links", "keys", "id", "created_at",
)  # fmt: skip


@click.group(
    epilog="""\b
As long as there is only one workspace no command asks for it; without any, the
first `add` of something makes one called default.
"""
)
def command() -> None:
    """Workspaces own programs, partners, links, domains and API keys."""


@command.command("list")
@json_option
@click.pass_obj
def list_(environment: Environment, *, as_json: bool) -> None:
    """List the workspaces with what they hold."""
    rows = asyncio.run(_list(environment))
    emit(as_json, rows, lambda: table(rows, _COLUMNS))


@command.command()
@click.argument("name", type=names.code)
@json_option
@click.pass_obj
def add(environment: Environment, name: str, *, as_json: bool) -> None:
    """Make a workspace called NAME."""
    made = dict(asyncio.run(_add(environment, name)))
    emit(as_json, made, lambda: click.echo(f"Workspace {name} made."))


async def _list(environment: Environment) -> list[dict[str, Any]]:
    async with postgres(environment) as connection:
        return await rows(connection, _SQL["list"])


async def _add(environment: Environment, name: str) -> asyncpg.Record:
    async with postgres(environment) as connection:
        made = await connection.fetchrow(_SQL["add"], uuid7(), name)
    if made is None:
        raise UsageProblem(
            f"There is a workspace {name!r} already.", "see `reftide workspaces list`."
        )
    return made
