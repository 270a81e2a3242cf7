"""`reftide partners`: who promotes."""

import asyncio
from typing import Any, Final

import asyncpg
import click
from uuid_utils.compat import uuid7

from scripts.environment import Environment
from scripts.output import UsageProblem, emit, facts, json_option, require_change, table
from scripts.servers import postgres, rows
from scripts.services.administer import names
from scripts.services.administer.lookups import the_partner
from scripts.services.administer.workspaces import choose, filter_by
from scripts.sql import statements

_SQL: Final = statements("services/administer/partners")
_COLUMNS: Final = ("code", "public_id", "name", "email", "workspace", "links")
_ENROLMENT: Final = (
    "program", "name", "clicks", "bot_clicks", "duplicate_clicks", "leads", "sales",
    "amounts",
)  # fmt: skip

_workspace_option = click.option("--workspace", metavar="NAME", help="Whose.")


@click.group(
    epilog="""\b
  reftide partners add jane --name "Jane Doe" --email jane@example.com
  reftide partners show jane
"""
)
def command() -> None:
    """Partners promote programs by their links."""


@command.command()
@click.argument("code", type=names.code)
@click.option("--name", default="", help="What people call them.")
@click.option("--email", help="How to reach them.")
@click.option(
    "--public-id",
    type=names.code,
    metavar="ID",
    help="What answers show; made up by default.",
)
@_workspace_option
@json_option
@click.pass_obj
def add(environment: Environment, /, code: str, *, as_json: bool, **given: Any) -> None:
    """Make a partner known as CODE."""
    row = asyncio.run(_add(environment, code, given))
    sentence = f"Partner {code} ({row['public_id']}) made in {row['workspace']}."
    emit(as_json, row, lambda: click.echo(sentence))


@command.command("list")
@_workspace_option
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@json_option
@click.pass_obj
def list_(
    environment: Environment, workspace: str | None, limit: int, *, as_json: bool
) -> None:
    """List the partners, newest first."""
    rows = asyncio.run(_list(environment, workspace, limit))
    emit(as_json, rows, lambda: table(rows, _COLUMNS))


@command.command()
@click.argument("code")
@_workspace_option
@json_option
@click.pass_obj
def show(
    environment: Environment, code: str, workspace: str | None, *, as_json: bool
) -> None:
    """Show a partner, by CODE or public id, and what it brought."""
    row, programs = asyncio.run(_show(environment, code, workspace))

    def for_people() -> None:
        facts(row, f"Partner {row['code']}")
        table(programs, _ENROLMENT, "Programs")

    emit(as_json, {**row, "programs": programs}, for_people)


@command.command("set")
@click.argument("code")
@click.option("--code", "new_code", type=names.code, help="A new code.")
@click.option("--name", help="A new name.")
@click.option("--email", help="A new address.")
@_workspace_option
@json_option
@click.pass_obj
def set_(
    environment: Environment, /, code: str, *, as_json: bool, **given: Any
) -> None:
    """Change a partner; what is not given stays."""
    require_change(given[name] for name in ("new_code", "name", "email"))
    row = asyncio.run(_set(environment, code, given))
    emit(as_json, row, lambda: click.echo(f"Partner {row['code']} changed."))


async def _add(
    environment: Environment, code: str, given: dict[str, Any]
) -> dict[str, Any]:
    async with postgres(environment) as connection, connection.transaction():
        owner = await choose(connection, given["workspace"])
        made = await connection.fetchval(
            _SQL["add"],
            uuid7(),
            owner.id,
            given["public_id"] or names.public_id("prt_"),
            code,
            given["name"],
            given["email"],
        )
        if made is None:
            raise UsageProblem(
                f"Workspace {owner.name} has a partner {code!r}, or the public id is"
                " taken, already.",
                f"see `reftide partners show {code}`.",
            )
        return await the_partner(connection, code, owner.id)


async def _list(
    environment: Environment, workspace: str | None, limit: int
) -> list[dict[str, Any]]:
    async with postgres(environment) as connection:
        owner = await filter_by(connection, workspace)
        return await rows(connection, _SQL["list"], owner, limit)


async def _show(
    environment: Environment, code: str, workspace: str | None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    async with postgres(environment) as connection:
        owner = await filter_by(connection, workspace)
        row = await the_partner(connection, code, owner)
        return row, await rows(connection, _SQL["enrolments"], row["id"])


async def _set(
    environment: Environment, code: str, given: dict[str, Any]
) -> dict[str, Any]:
    async with postgres(environment) as connection:
        owner = await filter_by(connection, given["workspace"])
        row = await the_partner(connection, code, owner)
        try:
            await connection.execute(
                _SQL["set"], row["id"], given["new_code"], given["name"], given["email"]
            )
        except asyncpg.UniqueViolationError as error:
            raise UsageProblem(
                f"Another partner of {row['workspace']} is called {given['new_code']!r}.",
                "choose another code.",
            ) from error
        return await the_partner(connection, row["public_id"], None)
