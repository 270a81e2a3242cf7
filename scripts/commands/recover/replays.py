"""`reftide replays`: follow, pause, resume and cancel replays."""

from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import click
import orjson

from scripts.environment import Environment
from scripts.output import emit, facts, json_option, table
from scripts.servers import ask_postgres
from scripts.services.recover import replays

_COLUMNS: Final = (
    "id", "mode", "dry_run", "status", "scanned", "inserted", "changed", "unchanged",
    "quarantined", "refused", "seconds", "created_at",
)  # fmt: skip


@click.group(
    epilog="""\b
  reftide replays list
  reftide replays pause 01890a5d-ac96-774b-bcce-b302099a8057
"""
)
def command() -> None:
    """Follow replays, and stop them. Workers carry them on by themselves."""


@command.command("list")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
@json_option
@click.pass_obj
def list_(environment: Environment, limit: int, *, as_json: bool) -> None:
    """List replays, newest first."""
    found = ask_postgres(environment, lambda asked: replays.listed(asked, limit))
    emit(as_json, {"replays": found}, lambda: table(found, _COLUMNS))


@command.command()
@click.argument("replay_id", metavar="ID", type=click.UUID)
@json_option
@click.pass_obj
def show(environment: Environment, replay_id: UUID, *, as_json: bool) -> None:
    """Show a replay: what was asked for, how far it is, and its results."""
    found = _asked_for(
        ask_postgres(environment, lambda asked: replays.read(asked, replay_id))
    )
    emit(as_json, found, lambda: facts(_for_people(found), f"Replay {replay_id}"))


def _verb(name: str, status: str, said: str) -> None:
    """Add the command that gives a replay this status; `said` is its help."""

    @command.command(name, help=said)
    @click.argument("replay_id", metavar="ID", type=click.UUID)
    @json_option
    @click.pass_obj
    def put(environment: Environment, replay_id: UUID, *, as_json: bool) -> None:
        ask_postgres(environment, lambda asked: replays.put(asked, replay_id, status))
        document = {"id": replay_id, "status": status}
        emit(as_json, document, lambda: click.echo(f"Replay {replay_id} is {status}."))


_verb("pause", "paused", "Pause a replay; what it has done stays done.")
_verb("resume", "running", "Resume a paused replay where it stopped.")
_verb("cancel", "cancelled", "Cancel a replay for good; what it has done stays done.")


def _asked_for(found: dict[str, Any]) -> dict[str, Any]:
    """What was asked for as a document, without what was left open."""
    asked = orjson.loads(found["requested"])
    return found | {
        "requested": {k: v for k, v in asked.items() if v not in (None, [])}
    }


def _for_people(found: dict[str, Any]) -> dict[str, Any]:
    asked = found["requested"].items()
    return found | {"requested": [_words(name, value) for name, value in asked]}


def _words(name: str, value: Any) -> str:
    if not name.endswith("_ms"):
        return f"{name} {value}"
    moment = datetime.fromtimestamp(value / 1000, UTC)
    return f"{name.removesuffix('_ms')} {moment.isoformat(' ', 'seconds')}"
