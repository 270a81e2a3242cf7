"""`reftide quarantine`: what could not be recorded, and why; edit, redrive, discard."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final
from uuid import UUID

import click
import orjson

from scripts.commands.recover import redrive
from scripts.commands.recover.quarantine_options import (
    ENTRY,
    dry,
    everything,
    filters,
    numbers,
)
from scripts.environment import Environment
from scripts.output import (
    Report,
    as_document,
    counted,
    facts,
    printable,
    reporting,
    table,
)
from scripts.servers import ask_postgres, postgres
from scripts.services.recover import quarantine, quarantine_edit, quarantine_redrive

_COLUMNS: Final = (
    "id", "reason", "code", "dialect", "kind", "workspace", "attempts", "status",
    "last_seen", "detail",
)  # fmt: skip
_HISTORY: Final = ("at", "who", "action", "note")
_SUMMARY: Final = (
    "reason", "workspace", "dialect", "entries", "last_hour", "last_day", "first",
    "latest",
)  # fmt: skip
_DROPPED: Final = ("reason", "entries", "first", "latest")

#: A statement that marks some thousands.
_SECONDS: Final = 60.0


@click.group(
    epilog="""\b
  reftide quarantine list --reason unknown_link --since 2h
  reftide quarantine summary --since 1d
  reftide quarantine show 17
  reftide quarantine edit 17 --set code=SUMMER
  reftide quarantine redrive 17
  reftide quarantine redrive --reason expired --workspace acme
  reftide quarantine discard --for undecodable --reason "a scanner"

\b
An entry that waits for a link, a click or an API key is redriven when that appears.
The workers' REFTIDE_QUARANTINE_ROWS and REFTIDE_QUARANTINE_DAYS bound what clients can
cause. What exceeds them is only counted; a replay can record it.
"""
)
def command() -> None:
    """Entries that no worker could record. They are kept, and count nowhere yet."""


@command.command("list")
@filters("--reason", "--for")
@click.option("--status", type=click.Choice(quarantine.STATUSES), default="open")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50)
@click.option(
    "--before", type=ENTRY, metavar="ID", help="The next page: below this id."
)
@reporting
async def list_(
    environment: Environment, /, *, limit: int, before: int | None, **by: Any
) -> Report:
    """List what is in quarantine, newest first."""
    async with postgres(environment) as connection:
        choice = await quarantine.choose(connection, by)
        found = await quarantine.listed(connection, choice, limit, before)
    return Report(found, partial(_show_list, found))


@command.command()
@filters("--reason", "--for")
@click.option("--status", type=click.Choice(quarantine.STATUSES), default="open")
@reporting
async def summary(environment: Environment, /, **by: Any) -> Report:
    """Count what is in quarantine by reason, workspace and dialect."""
    async with postgres(environment) as connection:
        choice = await quarantine.choose(connection, by)
        found = await quarantine.summary(connection, choice)
    return Report(found, partial(table, found, _SUMMARY))


def _show_list(found: Mapping[str, Any]) -> None:
    table(found["entries"], _COLUMNS)
    click.echo(f"{len(found['entries'])} of {found['count']}.")
    if found["dropped"]:
        table(found["dropped"], _DROPPED, "Counted but not kept: quarantine was full")


@command.command()
@click.argument("number", metavar="ID", type=ENTRY)
@reporting
async def show(environment: Environment, number: int) -> Report:
    """Show one entry: its envelope, the bytes as they were read, and its history."""
    async with postgres(environment) as connection:
        row = await quarantine.show(connection, number)
    return Report(row, partial(_show_entry, row))


def _show_entry(row: Mapping[str, Any]) -> None:
    shown = {**row}
    payload, envelope = shown.pop("payload"), shown.pop("envelope")
    history = shown.pop("history")
    facts(shown, f"Quarantine {row['id']}")
    if envelope is not None:
        click.echo(as_document(envelope).decode(), nl=False)
    click.echo(f"payload: {printable(payload)}")
    if history:
        table(history, _HISTORY, "History")


@command.command()
@click.argument("number", metavar="ID", type=ENTRY)
@click.option(
    "--set", "given", multiple=True, metavar="FIELD=VALUE", help="Change a field."
)
@click.option("--unset", "gone", multiple=True, metavar="FIELD", help="Remove a field.")
@reporting
def edit(
    environment: Environment, number: int, given: tuple[str, ...], gone: tuple[str, ...]
) -> Report:
    """Change the envelope of an open entry, in $EDITOR or field by field.

    The history keeps the former envelope. Write numbers, flags and lists as JSON. The id
    of an event and its time cannot be changed.
    """
    row = ask_postgres(environment, lambda asked: quarantine.open_entry(asked, number))
    before: bytes = row["payload"]
    if given or gone:
        text: str | None = quarantine_edit.with_fields(before, _assigned(given), gone)
    else:
        text = click.edit(quarantine_edit.readable(before), extension=".json")
    payload = before if text is None else quarantine_edit.sealed(text, before)
    if payload != before:
        who = quarantine_redrive.operator()
        ask_postgres(
            environment, lambda asked: quarantine_edit.store(asked, row, payload, who)
        )
    done = {
        "id": number,
        "is_changed": payload != before,
        "envelope": quarantine_edit.decoded(payload),
    }
    return Report(done, _edited(done))


@command.command()
@numbers
@filters("--for")
@everything
@dry
@click.option(
    "--reason", "why", required=True, metavar="TEXT", help="Why; it is stored."
)
@reporting
async def discard(environment: Environment, /, **asked: Any) -> Report:
    """Discard open entries. They stay as a record, and the ledger counts them quarantined."""
    async with postgres(environment, seconds=_SECONDS) as connection:
        choice = await quarantine.choose(connection, asked)
        if asked["dry_run"]:
            done = await quarantine.count(connection, choice)
        else:
            done = await quarantine_redrive.discard(connection, choice, asked["why"])
    verb = "would be discarded" if asked["dry_run"] else "discarded"
    return Report({"discarded": done}, f"{counted(done, 'entry', 'entries')} {verb}.")


@command.command()
@click.argument("request", type=click.UUID)
@reporting
async def cancel(environment: Environment, request: UUID) -> Report:
    """Take back what no worker has begun of a redrive; these entries stay open.

    REQUEST is what `redrive` prints.
    """
    async with postgres(environment, seconds=_SECONDS) as connection:
        done = await quarantine_redrive.cancel(connection, request)
    return Report(
        {"cancelled": done}, f"{counted(done, 'entry', 'entries')} cancelled."
    )


command.add_command(redrive.command, "redrive")


def _assigned(given: tuple[str, ...]) -> dict[str, str]:
    pairs = [each.partition("=") for each in given]
    for name, sign, _ in pairs:
        if not sign:
            raise click.UsageError(f"--set {name}: write it as FIELD=VALUE")
    return {name: value for name, _, value in pairs}


def _edited(done: Mapping[str, Any]) -> str:
    if not done["is_changed"]:
        return "Nothing was changed."
    envelope = orjson.dumps(done["envelope"], option=orjson.OPT_INDENT_2).decode()
    return f"{envelope}\nChanged. Next: `reftide quarantine redrive {done['id']}`."
