"""`reftide links`: codes that lead to a program and a partner."""

import asyncio
import shlex
from collections.abc import Mapping
from typing import Any, Final

import click

from ingest.contracts.directory import DEFAULT_NAMESPACE
from scripts.environment import Environment
from scripts.output import emit, facts, json_option, require_change, table
from scripts.servers import postgres, rows, single
from scripts.services.administer import names
from scripts.services.administer.links import Wanted, add_link, set_link
from scripts.services.administer.lookups import any_link
from scripts.services.administer.workspaces import filter_by
from scripts.sql import statements

_SQL: Final = statements("services/administer/links")
_COLUMNS: Final = (
    "code", "domain", "public_id", "program", "partner", "is_active", "clicks",
    "leads", "sales", "url",
)  # fmt: skip

_domain_option = click.option("--domain", type=names.domain, help="Whose code it is.")
_program_option = click.option(
    "--program", type=names.program_number, metavar="N", help="A program's number."
)
_partner_option = click.option("--partner", metavar="CODE", help="A partner's code.")
_workspace_option = click.option("--workspace", metavar="NAME", help="Whose.")


@click.group(
    epilog="""\b
  reftide links add SUMMER --program 1 --partner jane --url https://shop.example
  reftide links add jane --program 1 --partner jane --namespace workspace
  reftide links set SUMMER --code SUMMER26      the old code keeps working
  reftide links disable SUMMER26
"""
)
def command() -> None:
    """Links: a code, the program and partner behind it, and where it leads."""


@command.command()
@click.argument("code", type=names.code)
@_domain_option
@_program_option
@_partner_option
@click.option("--url", type=names.url, help="Where it leads; the program's by default.")
@click.option(
    "--public-id",
    type=names.code,
    metavar="ID",
    help="What answers show; made up by default.",
)
@click.option("--inactive", is_flag=True, help="Switched off to begin with.")
@click.option(
    "--namespace",
    type=click.Choice(["installation", "workspace"]),
    help="Where the code is unique if it has no domain; the installation by default.",
)
@_workspace_option
@json_option
@click.pass_obj
def add(
    environment: Environment,
    /,
    code: str,
    namespace: str | None,
    *,
    as_json: bool,
    **given: Any,
) -> None:
    """Make a link with CODE; clicks on it count within a second."""
    if namespace is not None and given["domain"] is not None:
        raise click.UsageError("A code is unique on its --domain: leave --namespace.")
    given["is_own"] = namespace == "workspace"
    row = asyncio.run(_add(environment, code, given))
    sentence = f"Link {code} ({row['public_id']}) made in {row['workspace']}."
    emit(as_json, row, lambda: click.echo(sentence + _what_it_lacks(row)))


def _what_it_lacks(row: Mapping[str, Any]) -> str:
    options = {"program": "--program N", "partner": "--partner CODE"}
    missing = [option for side, option in options.items() if row[side] is None]
    if not missing:
        return ""
    # Elsewhere a code alone may mean another link.
    is_plain = row["namespace"] == DEFAULT_NAMESPACE
    name = shlex.quote(row["code" if is_plain else "public_id"])
    return (
        "\nAffitor's clicks on it are refused until"
        f" `reftide links set {name} {' '.join(missing)}`."
    )


@command.command("list")
@_program_option
@_partner_option
@_workspace_option
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@json_option
@click.pass_obj
def list_(environment: Environment, /, *, as_json: bool, **by: Any) -> None:
    """List the links, newest first."""
    rows = asyncio.run(_list(environment, by))
    emit(as_json, rows, lambda: table(rows, _COLUMNS))


@command.command()
@click.argument("code")
@_domain_option
@json_option
@click.pass_obj
def show(
    environment: Environment, code: str, domain: str | None, *, as_json: bool
) -> None:
    """Show a link by CODE, a former code, or its public id."""
    row = asyncio.run(_show(environment, code, domain))
    emit(as_json, row, lambda: facts(row, f"Link {row['code']}"))


@command.command("set")
@click.argument("code")
@_domain_option
@click.option(
    "--code", "new_code", type=names.code, help="A new code; the old one stays."
)
@click.option("--url", type=names.url, help="Where it leads now.")
@_program_option
@_partner_option
@json_option
@click.pass_obj
def set_(
    environment: Environment, /, code: str, *, as_json: bool, **given: Any
) -> None:
    """Change a link; what is not given stays. What it has counted stays too."""
    require_change(value for name, value in given.items() if name != "domain")
    row = asyncio.run(_set(environment, code, given))
    emit(as_json, row, lambda: click.echo(f"Link {row['code']} changed."))


@command.command()
@click.argument("code")
@_domain_option
@json_option
@click.pass_obj
def disable(
    environment: Environment, code: str, domain: str | None, *, as_json: bool
) -> None:
    """Switch a link off: its clicks are refused as its vendor refuses them."""
    row = asyncio.run(_switch(environment, (code, domain), on=False))
    emit(as_json, row, lambda: click.echo(f"Link {row['code']} is off."))


@command.command()
@click.argument("code")
@_domain_option
@json_option
@click.pass_obj
def enable(
    environment: Environment, code: str, domain: str | None, *, as_json: bool
) -> None:
    """Switch a link on again."""
    row = asyncio.run(_switch(environment, (code, domain), on=True))
    emit(as_json, row, lambda: click.echo(f"Link {row['code']} is on."))


async def _add(
    environment: Environment, code: str, given: dict[str, Any]
) -> dict[str, Any]:
    async with postgres(environment) as connection, connection.transaction():
        return await add_link(connection, Wanted(code=code, **given))


async def _list(environment: Environment, by: dict[str, Any]) -> list[dict[str, Any]]:
    async with postgres(environment) as connection:
        owner = await filter_by(connection, by["workspace"])
        return await rows(
            connection, _SQL["list"], owner, by["program"], by["partner"], by["limit"]
        )


async def _show(
    environment: Environment, code: str, domain: str | None
) -> dict[str, Any]:
    async with postgres(environment) as connection:
        return await any_link(connection, code, domain)


async def _set(
    environment: Environment, code: str, given: dict[str, Any]
) -> dict[str, Any]:
    async with postgres(environment) as connection, connection.transaction():
        if given["new_code"] is not None:
            # Workers lock a link after this; and a rename beside us ends before we look.
            await connection.execute(_SQL["one_writer"])
        link = await any_link(connection, code, given.pop("domain"))
        await set_link(connection, link, **given)
        code = given["new_code"] or link["code"]
        return await single(connection, _SQL["named"], link["namespace"], code)


async def _switch(
    environment: Environment, name: tuple[str, str | None], *, on: bool
) -> dict[str, Any]:
    async with postgres(environment) as connection:
        link = await any_link(connection, *name)
        await connection.execute(_SQL["switch"], link["id"], on)
        return link | {"is_active": on}
