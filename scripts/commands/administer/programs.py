"""`reftide programs`: what partners promote, and the windows that hold for it."""

import asyncio
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import click
from uuid_utils.compat import uuid7

from ingest.contracts.directory import DEFAULT_WINDOW_DAYS
from scripts.environment import Environment
from scripts.output import UsageProblem, emit, facts, json_option, require_change, table
from scripts.servers import Connection, postgres, rows
from scripts.services.administer import names
from scripts.services.administer.lookups import the_program
from scripts.services.administer.workspaces import choose, filter_by
from scripts.sql import statements

_SQL: Final = statements("services/administer/programs")
_COLUMNS: Final = (
    "number", "name", "workspace", "url", "model", "cookie_window_days",
    "attribution_window_days", "needs_server_lead", "has_stats",
)  # fmt: skip
_ENROLMENT: Final = (
    "partner", "clicks", "bot_clicks", "duplicate_clicks", "leads", "sales",
    "amounts",
)  # fmt: skip

_MODEL: Final = click.Choice(["last_click", "first_click"])
_DAYS: Final = click.IntRange(1, 365)
_workspace_option = click.option("--workspace", metavar="NAME", help="Whose.")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Terms:
    """What an operator may say about a program; None: nothing said."""

    url: str | None
    model: str | None
    cookie_window: int | None
    attribution_window: int | None
    server_leads: bool | None
    stats: bool | None


def _terms(function: Any) -> Any:
    options = (
        click.option("--url", type=names.url, help="Where its links lead by default."),
        click.option("--model", type=_MODEL, help="Which click earns a lead."),
        click.option("--cookie-window", type=_DAYS, help="Days a click id is kept."),
        click.option("--attribution-window", type=_DAYS, help="Days a click earns."),
        click.option(
            "--server-leads/--no-server-leads",
            default=None,
            help="Take leads only from servers that show a key.",
        ),
        click.option(
            "--stats/--no-stats",
            default=None,
            help="Let clients ask what partners' links brought.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


@click.group(
    epilog="""\b
  reftide programs add "Summer sale" --url https://shop.example
  reftide programs set 1 --attribution-window 30 --model first_click
  reftide programs set 1 --server-leads --stats
"""
)
def command() -> None:
    """Programs are what partners promote. Clients know them by their number."""


@command.command()
@click.argument("name", type=names.code)
@click.option(
    "--number",
    type=names.program_number,
    metavar="N",
    help="Its public number; the next by default.",
)
@_terms
@_workspace_option
@json_option
@click.pass_obj
def add(
    environment: Environment,
    /,
    name: str,
    number: int | None,
    workspace: str | None,
    *,
    as_json: bool,
    **terms: Any,
) -> None:
    """Make a program called NAME."""
    row = asyncio.run(_add(environment, (name, number, workspace), _Terms(**terms)))
    sentence = f"Program {row['number']} ({name}) made in workspace {row['workspace']}."
    emit(as_json, row, lambda: click.echo(sentence))


@command.command("list")
@_workspace_option
@json_option
@click.pass_obj
def list_(environment: Environment, workspace: str | None, *, as_json: bool) -> None:
    """List the programs."""
    rows = asyncio.run(_list(environment, workspace))
    emit(as_json, rows, lambda: table(rows, _COLUMNS))


@command.command()
@click.argument("number", type=names.program_number)
@json_option
@click.pass_obj
def show(environment: Environment, number: int, *, as_json: bool) -> None:
    """Show program NUMBER and what its partners brought (the first hundred)."""
    row, partners = asyncio.run(_show(environment, number))

    def for_people() -> None:
        facts(row, f"Program {number}")
        table(partners, _ENROLMENT, "Partners")

    emit(as_json, {**row, "partners": partners}, for_people)


@command.command("set")
@click.argument("number", type=names.program_number)
@click.option("--name", type=names.code, metavar="TEXT", help="A new name.")
@_terms
@json_option
@click.pass_obj
def set_(
    environment: Environment,
    /,
    number: int,
    name: str | None,
    *,
    as_json: bool,
    **terms: Any,
) -> None:
    """Change program NUMBER; what is not given stays."""
    require_change((name, *terms.values()))
    row = asyncio.run(_set(environment, number, name, _Terms(**terms)))
    emit(as_json, row, lambda: click.echo(f"Program {number} changed."))


async def _add(
    environment: Environment, wanted: tuple[str, int | None, str | None], terms: _Terms
) -> dict[str, Any]:
    name, number, workspace = wanted
    async with postgres(environment) as connection, connection.transaction():
        owner = await choose(connection, workspace)
        made = await connection.fetchval(
            _SQL["add"],
            uuid7(),
            number,
            owner.id,
            name,
            terms.url or "",
            terms.model or "last_click",
            terms.cookie_window or DEFAULT_WINDOW_DAYS,
            terms.attribution_window or DEFAULT_WINDOW_DAYS,
        )
        if made is None:
            taken = f"the name {name!r}" + (
                f" or the number {number}" if number else ""
            )
            raise UsageProblem(
                f"A program in workspace {owner.name} has {taken} already.",
                "see `reftide programs list`, or change it: `reftide programs set`.",
            )
        if number is not None:
            await connection.execute(_SQL["pass"])
        row = await the_program(connection, made)
        await _change(connection, row, None, terms)
        return await the_program(connection, made)


async def _list(
    environment: Environment, workspace: str | None
) -> list[dict[str, Any]]:
    async with postgres(environment) as connection:
        owner = await filter_by(connection, workspace)
        return await rows(connection, _SQL["list"], owner)


async def _show(
    environment: Environment, number: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    async with postgres(environment) as connection:
        row = await the_program(connection, number)
        return row, await rows(connection, _SQL["enrolments"], row["id"])


async def _set(
    environment: Environment, number: int, name: str | None, terms: _Terms
) -> dict[str, Any]:
    async with postgres(environment) as connection:
        row = await the_program(connection, number)
        await _change(connection, row, name, terms)
        return await the_program(connection, number)


async def _change(
    connection: Connection, row: dict[str, Any], name: str | None, terms: _Terms
) -> None:
    try:
        await connection.execute(
            _SQL["set"],
            row["id"],
            name,
            terms.url,
            terms.model,
            terms.cookie_window,
            terms.attribution_window,
            terms.server_leads,
            terms.stats,
        )
    except asyncpg.UniqueViolationError as error:
        raise UsageProblem(
            f"Another program of workspace {row['workspace']} is called {name!r}.",
            "choose another name.",
        ) from error
