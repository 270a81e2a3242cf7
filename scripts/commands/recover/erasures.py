"""`reftide erasures`: the erasures and how far they are."""

from typing import Final
from uuid import UUID

import click

from scripts.environment import Environment
from scripts.output import emit, facts, json_option, table
from scripts.servers import ask_postgres
from scripts.services.recover import erase

_COLUMNS: Final = (
    "id", "workspace", "customer_id", "events", "state", "asked_at", "who", "note",
)  # fmt: skip
_ARCHIVES: Final = ("host", "directory", "is_current", "lines", "swept_at")


@click.group(
    epilog="""\b
  reftide erasures list
  reftide erasures show 01890a5d-ac96-774b-bcce-b302099a8057
"""
)
def command() -> None:
    """Follow erasures: `reftide erase` starts them, workers finish what has to wait."""


@command.command("list")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
@json_option
@click.pass_obj
def list_(environment: Environment, limit: int, *, as_json: bool) -> None:
    """List erasures, newest first. State: `rows`, then `streams`, then `done`."""
    found = ask_postgres(environment, lambda asked: erase.listed(asked, limit))
    emit(as_json, {"erasures": found}, lambda: table(found, _COLUMNS))


@command.command()
@click.argument("erasure_id", metavar="ID", type=click.UUID)
@json_option
@click.pass_obj
def show(environment: Environment, erasure_id: UUID, *, as_json: bool) -> None:
    """Show an erasure: what it found, what is left, and which archives are rewritten."""
    found = ask_postgres(environment, lambda asked: erase.read(asked, erasure_id))

    def for_people() -> None:
        shown = {**found}
        archives, detached = shown.pop("archives"), shown.pop("detached")
        facts(shown, f"Erasure {erasure_id}")
        if archives:
            table(archives, _ARCHIVES, "Archives")
        for name, count in detached.items():
            click.echo(f"{count} of its events are in the detached table {name}.")

    emit(as_json, found, for_people)
