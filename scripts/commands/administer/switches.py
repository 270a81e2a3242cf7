"""`reftide switches`: turns everything, a dialect, a program or a link off, and on again."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

import click

from ingest.dialects import DIALECTS
from ingest.dialects.batch import BATCH
from scripts.environment import Environment
from scripts.output import UsageProblem, emit, json_option, table
from scripts.servers import Connection, postgres, rows, single
from scripts.services.administer.lookups import the_program
from scripts.sql import statements

_SQL: Final = statements("services/administer/switches")
_COLUMNS: Final = ("scope", "subject", "reason", "created_at")
_EVERYTHING: Final = "installation"
_NUMBER: Final = re.compile(r"[0-9]{1,16}")


async def _everything(_: Connection, subject: str) -> str:
    if subject:
        raise UsageProblem(
            f"The installation is one, and not {subject!r}.",
            f"name nothing after {_EVERYTHING!r}.",
        )
    return ""


async def _dialect(_: Connection, subject: str) -> str:
    known = [dialect.name for dialect in (*DIALECTS, BATCH)]
    if subject not in known:
        raise UsageProblem(
            f"There is no dialect {subject!r}.", f"choose from {', '.join(known)}."
        )
    return subject


async def _program(connection: Connection, subject: str) -> str:
    if not _NUMBER.fullmatch(subject):
        raise UsageProblem(
            f"{subject!r} is no program's number.", "see `reftide programs list`."
        )
    return str((await the_program(connection, int(subject)))["number"])


async def _link(connection: Connection, subject: str) -> str:
    if await connection.fetchval(_SQL["link"], subject) is None:
        raise UsageProblem(
            f"No link has the public id {subject!r}.",
            "see `reftide links list`, or `reftide links show CODE`.",
        )
    return subject


#: Of every scope the check that a subject exists; gives it back as it is stored.
_SCOPES: Final[dict[str, Callable[[Connection, str], Awaitable[str]]]] = {
    _EVERYTHING: _everything,
    "dialect": _dialect,
    "program": _program,
    "link": _link,
}

_scope_argument = click.argument("scope", type=click.Choice(list(_SCOPES)))
_subject_argument = click.argument("subject", default="")


@click.group(
    epilog="""\b
  reftide switches off dialect bio_re --reason "their tracker went wild"
  reftide switches off program 3
  reftide switches off link lnk_abc
  reftide switches off installation
  reftide switches on dialect bio_re
"""
)
def command() -> None:
    """What is off answers 503 in its vendor's words, and records nothing.

    Every edge knows within a second. SCOPE is installation, dialect NAME, program NUMBER or
    link PUBLIC_ID.
    """


@command.command("list")
@json_option
@click.pass_obj
def list_(environment: Environment, *, as_json: bool) -> None:
    """List what is off."""
    rows = asyncio.run(_list(environment))

    def for_people() -> None:
        if rows:
            table(rows, _COLUMNS)
        else:
            click.echo("Everything is on.")

    emit(as_json, rows, for_people)


@command.command()
@_scope_argument
@_subject_argument
@click.option("--reason", default="", help="Why, for whoever reads the list.")
@json_option
@click.pass_obj
def off(
    environment: Environment, scope: str, subject: str, reason: str, *, as_json: bool
) -> None:
    """Switch off SCOPE, and SUBJECT of it; what is off already gets the reason."""
    row = asyncio.run(_off(environment, (scope, subject), reason))
    sentence = f"{_name(row)} is off: within a second every edge answers 503."
    emit(as_json, row, lambda: click.echo(sentence))


@command.command("on")
@_scope_argument
@_subject_argument
@json_option
@click.pass_obj
def on_(environment: Environment, scope: str, subject: str, *, as_json: bool) -> None:
    """Switch on again what was switched off."""
    row = asyncio.run(_on(environment, scope, subject))
    change = "again, within a second" if row["was_off"] else "already"
    emit(as_json, row, lambda: click.echo(f"{_name(row)} is on {change}."))


def _name(row: dict[str, Any]) -> str:
    if row["scope"] == _EVERYTHING:
        return "Everything"
    return f"{row['scope'].capitalize()} {row['subject']}"


async def _list(environment: Environment) -> list[dict[str, Any]]:
    async with postgres(environment) as connection:
        return await rows(connection, _SQL["list"])


async def _off(
    environment: Environment, name: tuple[str, str], reason: str
) -> dict[str, Any]:
    scope, subject = name
    async with postgres(environment) as connection:
        subject = await _SCOPES[scope](connection, subject)
        row = await single(connection, _SQL["off"], scope, subject, reason)
        return row | {"is_off": True}


async def _on(environment: Environment, scope: str, subject: str) -> dict[str, Any]:
    async with postgres(environment) as connection:
        was_off = await connection.fetchval(_SQL["on"], scope, subject) is not None
        if not was_off:
            # A subject that is gone can be switched on; a mistyped one should be told.
            await _SCOPES[scope](connection, subject)
    return {"scope": scope, "subject": subject, "is_off": False, "was_off": was_off}
