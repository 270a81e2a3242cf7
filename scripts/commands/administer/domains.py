"""`reftide domains`: domains whose codes are a namespace of their own."""

import asyncio
from typing import Any, Final

import click

from scripts.environment import Environment
from scripts.output import UsageProblem, counted, emit, facts, json_option, table
from scripts.servers import Connection, postgres, rows
from scripts.services.administer import names
from scripts.services.administer.workspaces import choose, filter_by
from scripts.sql import statements

_SQL: Final = statements("services/administer/domains")
_COLUMNS: Final = ("domain", "workspace", "links", "created_at")

_workspace_option = click.option("--workspace", metavar="NAME", help="Whose.")


@click.group(
    epilog="""\b
  reftide domains add go.example.com
  reftide links add alice --domain go.example.com --program 1 --partner alice
"""
)
def command() -> None:
    """A code means one link in each domain, and one where no domain is known."""


@command.command()
@click.argument("domain", type=names.domain)
@_workspace_option
@json_option
@click.pass_obj
def add(
    environment: Environment, domain: str, workspace: str | None, *, as_json: bool
) -> None:
    """Let DOMAIN have codes of its own."""
    row = asyncio.run(_add(environment, domain, workspace))
    sentence = f"Domain {domain} belongs to workspace {row['workspace']}."
    emit(as_json, row, lambda: click.echo(sentence))


@command.command("list")
@_workspace_option
@json_option
@click.pass_obj
def list_(environment: Environment, workspace: str | None, *, as_json: bool) -> None:
    """List the domains."""
    rows = asyncio.run(_list(environment, workspace))
    emit(as_json, rows, lambda: table(rows, _COLUMNS))


@command.command()
@click.argument("domain", type=names.domain)
@json_option
@click.pass_obj
def show(environment: Environment, domain: str, *, as_json: bool) -> None:
    """Show whose DOMAIN is and how many links it has."""
    row = asyncio.run(_show(environment, domain))
    emit(as_json, row, lambda: facts(row, f"Domain {domain}"))


@command.command()
@click.argument("domain", type=names.domain)
@json_option
@click.pass_obj
def disable(environment: Environment, domain: str, *, as_json: bool) -> None:
    """Forget DOMAIN, which no link may use any more."""
    row = asyncio.run(_remove(environment, domain))
    emit(as_json, row, lambda: click.echo(f"Domain {domain} forgotten."))


async def _add(
    environment: Environment, domain: str, workspace: str | None
) -> dict[str, Any]:
    async with postgres(environment) as connection, connection.transaction():
        owner = await choose(connection, workspace)
        if await connection.fetchval(_SQL["add"], domain, owner.id) is None:
            raise UsageProblem(
                f"{domain} is known already.", "see `reftide domains list`."
            )
        return await _the_domain(connection, domain)


async def _list(
    environment: Environment, workspace: str | None
) -> list[dict[str, Any]]:
    async with postgres(environment) as connection:
        owner = await filter_by(connection, workspace)
        return await rows(connection, _SQL["list"], owner)


async def _show(environment: Environment, domain: str) -> dict[str, Any]:
    async with postgres(environment) as connection:
        return await _the_domain(connection, domain)


async def _remove(environment: Environment, domain: str) -> dict[str, Any]:
    async with postgres(environment) as connection, connection.transaction():
        row = await _the_domain(connection, domain)
        if row["links"]:
            raise UsageProblem(
                f"{counted(row['links'], 'link uses', 'links use')} {domain}.",
                "disable those links instead: `reftide links disable CODE --domain"
                f" {domain}`.",
            )
        await connection.execute(_SQL["remove"], domain)
        return row


async def _the_domain(connection: Connection, domain: str) -> dict[str, Any]:
    row = await connection.fetchrow(_SQL["named"], domain)
    if row is None:
        raise UsageProblem(
            f"{domain} is not known.",
            f"see `reftide domains list`, or add it: `reftide domains add {domain}`.",
        )
    return dict(row)
