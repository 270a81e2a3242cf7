"""`reftide quarantine`: what could not be recorded, and why."""

import asyncio
import re
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click
import orjson

from ingest.contracts.envelope import Dedupe, NewerVersion, Undecodable, decode
from scripts.environment import Environment
from scripts.output import Refused, emit, facts, json_option, printable, table
from scripts.queries import statements
from scripts.servers import postgres, rows
from scripts.workspaces import filter_by

_SQL: Final = statements("quarantine")
_COLUMNS: Final = (
    "id", "reason", "code", "dialect", "kind", "workspace", "attempts", "status",
    "last_seen", "detail",
)  # fmt: skip

_REASONS: Final = (
    "undecodable", "unstorable", "future_id", "crash_loop", "unknown_link",
    "inactive_link", "incomplete_link", "unknown_program", "unknown_click", "expired",
    "unauthorised",
)  # fmt: skip
_STATUSES: Final = ("open", "redriven", "discarded", "all")
_SPAN: Final = re.compile(r"(\d{1,6})([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def _since(value: str) -> timedelta | datetime:
    """A span back from now, or a moment; a moment without a zone is UTC."""
    span = _SPAN.fullmatch(value)
    if span:
        return timedelta(**{_UNITS[span[2]]: int(span[1])})
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        problem = f"{value!r} is neither 90m, 2h, 3d nor a date"
        raise click.BadParameter(problem) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@click.group(
    epilog="""\b
  reftide quarantine list --reason unknown_link --since 2h
  reftide quarantine show 17
"""
)
def command() -> None:
    """Entries that no worker could record. Nothing in here is lost or counted."""


@command.command("list")
@click.option("--reason", type=click.Choice(_REASONS), help="Only these.")
@click.option(
    "--status", type=click.Choice(_STATUSES), default="open", show_default=True
)
@click.option("--since", type=_since, metavar="WHEN", help="90m, 2h, 3d, or a date.")
@click.option("--workspace", metavar="NAME", help="Whose.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@json_option
@click.pass_obj
def list_(environment: Environment, /, *, as_json: bool, **by: Any) -> None:
    """List what is in quarantine, newest first."""
    found = asyncio.run(_list(environment, by))

    def for_people() -> None:
        table(found["entries"], _COLUMNS)
        click.echo(f"{len(found['entries'])} of {found['count']}.")

    emit(as_json, found, for_people)


@command.command()
@click.argument("number", metavar="ID", type=click.IntRange(1))
@json_option
@click.pass_obj
def show(environment: Environment, number: int, *, as_json: bool) -> None:
    """Show one entry, decoded where it can be, and the bytes as they were read."""
    row = asyncio.run(_show(environment, number))

    def for_people() -> None:
        shown = {**row}
        payload, envelope = shown.pop("payload"), shown.pop("envelope")
        facts(shown, f"Quarantine {number}")
        if envelope is not None:
            click.echo(orjson.dumps(envelope, option=orjson.OPT_INDENT_2).decode())
        click.echo(f"payload: {printable(payload)}")

    emit(as_json, row, for_people)


async def _list(environment: Environment, by: dict[str, Any]) -> dict[str, Any]:
    since = by["since"]
    if isinstance(since, timedelta):
        since = datetime.fromtimestamp(environment.clock(), UTC) - since
    status = None if by["status"] == "all" else by["status"]
    async with postgres(environment) as connection:
        owner = await filter_by(connection, by["workspace"])
        filters = (by["reason"], status, since, owner)
        return {
            "count": await connection.fetchval(_SQL["count"], *filters),
            "entries": await rows(connection, _SQL["list"], *filters, by["limit"]),
        }


async def _show(environment: Environment, number: int) -> dict[str, Any]:
    async with postgres(environment) as connection:
        row = await connection.fetchrow(_SQL["one"], number)
    if row is None:
        raise Refused(
            f"Nothing in quarantine has the id {number}.",
            "see `reftide quarantine list --status all`.",
        )
    payload: bytes = row["payload"]
    return {
        **row,
        "payload": payload.decode("utf-8", "backslashreplace"),
        "envelope": _decoded(payload),
    }


def _decoded(payload: bytes) -> dict[str, Any] | None:
    """The fields that are not as by default, under their whole names."""
    try:
        envelope = decode(payload)
    except (Undecodable, NewerVersion):
        return None
    known = {item.name: getattr(envelope, item.name) for item in fields(envelope)}
    return {
        name: _plain(value)
        for name, value in known.items()
        if value not in (None, (), {}) and value is not False
    }


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Dedupe):
        return {"scope": value.scope, "key": value.key.hex()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
