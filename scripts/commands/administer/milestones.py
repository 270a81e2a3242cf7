"""`reftide milestones`: what partners earn by the number of their leads."""

import asyncio
from typing import Any, Final

import click
from uuid_utils.compat import uuid7

from scripts.environment import Environment
from scripts.output import UsageProblem, emit, json_option, table
from scripts.servers import postgres, rows
from scripts.services.administer import names
from scripts.services.administer.lookups import the_program
from scripts.services.administer.workspaces import filter_by
from scripts.sql import statements

_SQL: Final = statements("services/administer/milestones")
_COLUMNS: Final = ("program", "name", "converts", "awards", "workspace")
_AWARDS: Final = ("awarded_at", "program", "milestone", "converts", "partner")

_NUMBER: Final = click.IntRange(1, 2**53 - 1)
_program_option = click.option("--program", type=_NUMBER, help="Only this program's.")
_workspace_option = click.option("--workspace", metavar="NAME", help="Whose.")


@click.group(
    epilog="""\b
  reftide milestones add "Five friends" --program 1 --converts 5
  reftide milestones awards --program 1
"""
)
def command() -> None:
    """Milestones are awarded to partners once, when they have brought enough leads.

    Clicks, sales and tests do not count. An award stays given, also where a lead is
    attributed to another partner later.
    """


@command.command()
@click.argument("name", type=names.code)
@click.option("--program", type=_NUMBER, required=True, help="Leads of which program.")
@click.option(
    "--converts",
    type=click.IntRange(1, 2**31 - 1),
    required=True,
    help="How many leads earn it.",
)
@json_option
@click.pass_obj
def add(
    environment: Environment, name: str, program: int, converts: int, *, as_json: bool
) -> None:
    """Make a milestone called NAME.

    Partners who have brought that many leads already earn it with their next one.
    """
    row = asyncio.run(_add(environment, name, program, converts))
    sentence = f"Milestone {name} made: {converts} leads in program {program}."
    emit(as_json, row, lambda: click.echo(sentence))


@command.command("list")
@_program_option
@_workspace_option
@json_option
@click.pass_obj
def list_(
    environment: Environment,
    program: int | None,
    workspace: str | None,
    *,
    as_json: bool,
) -> None:
    """List the milestones and how many partners have earned each."""
    found = asyncio.run(_list(environment, program, workspace))
    emit(as_json, found, lambda: table(found, _COLUMNS))


@command.command()
@_program_option
@click.option("--partner", metavar="CODE", help="Only this partner's.")
@_workspace_option
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@json_option
@click.pass_obj
def awards(environment: Environment, /, *, as_json: bool, **given: Any) -> None:
    """List who earned which milestone, the latest first."""
    found = asyncio.run(_awards(environment, given))
    emit(as_json, found, lambda: table(found, _AWARDS))


async def _add(
    environment: Environment, name: str, number: int, converts: int
) -> dict[str, Any]:
    async with postgres(environment) as connection, connection.transaction():
        program = await the_program(connection, number)
        made = await connection.fetchval(
            _SQL["add"], uuid7(), program["id"], name, converts
        )
        if made is None:
            raise UsageProblem(
                f"Program {number} has a milestone {name!r} already.",
                f"see `reftide milestones list --program {number}`.",
            )
        return (await rows(connection, _SQL["made"], made))[0]


async def _list(
    environment: Environment, number: int | None, workspace: str | None
) -> list[dict[str, Any]]:
    async with postgres(environment) as connection:
        owner = await filter_by(connection, workspace)
        if number is not None:
            await the_program(connection, number)
        return await rows(connection, _SQL["list"], owner, number)


async def _awards(
    environment: Environment, given: dict[str, Any]
) -> list[dict[str, Any]]:
    async with postgres(environment) as connection:
        owner = await filter_by(connection, given["workspace"])
        if given["program"] is not None:
            await the_program(connection, given["program"])
        return await rows(
            connection,
            _SQL["awards"],
            owner,
            given["program"],
            given["partner"],
            given["limit"],
        )
