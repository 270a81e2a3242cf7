"""`reftide limits`: how many requests a minute may come, where not what the dialect says."""

import asyncio
from typing import Any, Final
from uuid import UUID

import click

from ingest.dialects import DIALECTS
from scripts.environment import Environment
from scripts.output import UsageProblem, emit, facts, json_option, table
from scripts.servers import Connection, postgres, rows
from scripts.sql import statements

_SQL: Final = statements("services/administer/limits")
_COLUMNS: Final = ("subject", "of", "per_minute", "default", "key")
#: More than a process can answer, and far below what the column holds.
_MOST: Final = 10_000_000

_subject_argument = click.argument("subject")


def known_limits() -> dict[str, dict[str, Any]]:
    """The limits that dialects have, by name: whom each counts, and how many it lets in."""
    return {
        limit.name: {"of": limit.by, "default": limit.per_minute}
        for dialect in DIALECTS
        for endpoint in dialect.endpoints
        for limit in endpoint.limits
    }


@click.group(
    epilog="""\b
  reftide limits list
  reftide limits set refport.key 1200
  reftide limits set 01890a5d-ac96-774b-bcce-b302099a8057 60
  reftide limits clear refport.key
"""
)
def command() -> None:
    """Requests a minute: of a dialect's limit by its name, or of one API key by its id.

    They hold over all edges together; what is set is known to them within a second.
    """


@command.command("list")
@json_option
@click.pass_obj
def list_(environment: Environment, *, as_json: bool) -> None:
    """List all limits; without a figure of its own each has its dialect's."""
    rows = asyncio.run(_list(environment))
    emit(as_json, rows, lambda: table(rows, _COLUMNS))


@command.command()
@_subject_argument
@json_option
@click.pass_obj
def show(environment: Environment, subject: str, *, as_json: bool) -> None:
    """Show the limit SUBJECT: a limit's name, or an API key's id."""
    row = asyncio.run(_show(environment, subject))
    emit(as_json, row, lambda: facts(row, f"Limit {row['subject']}"))


@command.command("set")
@_subject_argument
@click.argument("per_minute", type=click.IntRange(1, _MOST))
@json_option
@click.pass_obj
def set_(
    environment: Environment, subject: str, per_minute: int, *, as_json: bool
) -> None:
    """Let PER_MINUTE requests in, in any 60 seconds.

    SUBJECT is a limit's name, or the id of an API key. What a key has for itself holds for
    all that it sends, in every dialect, in the place of what they say of every key.
    """
    row = asyncio.run(_set(environment, subject, per_minute))
    sentence = f"{row['subject']} is {per_minute} a minute, within a second."
    emit(as_json, row, lambda: click.echo(sentence))


@command.command()
@_subject_argument
@json_option
@click.pass_obj
def clear(environment: Environment, subject: str, *, as_json: bool) -> None:
    """Go back to what the dialect says."""
    row = asyncio.run(_clear(environment, subject))
    default = row["default"] and f" ({row['default']} a minute)"
    sentence = f"{row['subject']} has no figure of its own{default or ''}."
    emit(as_json, row, lambda: click.echo(sentence))


async def _list(environment: Environment) -> list[dict[str, Any]]:
    async with postgres(environment) as connection:
        return list((await _limits(connection)).values())


async def _show(environment: Environment, subject: str) -> dict[str, Any]:
    async with postgres(environment) as connection:
        subject = await _the_subject(connection, subject)
        return await _the_limit(connection, subject)


async def _set(
    environment: Environment, subject: str, per_minute: int
) -> dict[str, Any]:
    async with postgres(environment) as connection:
        subject = await _the_subject(connection, subject)
        await connection.execute(_SQL["set"], subject, per_minute)
        return await _the_limit(connection, subject)


async def _clear(environment: Environment, subject: str) -> dict[str, Any]:
    async with postgres(environment) as connection:
        subject = _id_of(subject) or subject
        if await connection.fetchval(_SQL["clear"], subject) is None:
            # What is gone may still have had a limit; what is mistyped should be told.
            await _the_subject(connection, subject)
        return await _the_limit(connection, subject)


async def _the_subject(connection: Connection, subject: str) -> str:
    """As it is stored. Raises UsageProblem for what no limit can be for."""
    if subject in known_limits():
        return subject
    key_id = _id_of(subject)
    if key_id and await connection.fetchval(_SQL["key"], key_id) is not None:
        return key_id
    raise UsageProblem(
        f"{subject!r} is no limit's name, and no id of an API key that works.",
        "see `reftide limits list` and `reftide keys list`.",
    )


def _id_of(subject: str) -> str | None:
    try:
        return str(UUID(subject))
    except ValueError:
        return None


async def _the_limit(connection: Connection, subject: str) -> dict[str, Any]:
    found = await _limits(connection)
    return found.get(subject) or _unset(subject, "key", None)


async def _limits(connection: Connection) -> dict[str, dict[str, Any]]:
    """Every limit by its subject: the dialects', then what else is set."""
    found = {
        name: _unset(name, limit["of"], limit["default"])
        for name, limit in known_limits().items()
    }
    for row in await rows(connection, _SQL["list"]):
        name, last_four = row.pop("key_name"), row.pop("last_four")
        key = None if last_four is None else f"{name} …{last_four}".strip()
        limit = found.get(row["subject"]) or _unset(row["subject"], "key", None)
        found[row["subject"]] = limit | row | {"key": key}
    return found


def _unset(subject: str, of: str, default: int | None) -> dict[str, Any]:
    return {
        "subject": subject,
        "of": of,
        "per_minute": None,
        "default": default,
        "key": None,
        "created_at": None,
    }
