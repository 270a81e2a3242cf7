"""`reftide replays`: the replays that were ordered, and stopping them."""

import asyncio
from typing import Any, Final
from uuid import UUID

import click
import orjson

from scripts import replaying
from scripts.environment import Environment
from scripts.output import emit, facts, json_option, table
from scripts.servers import postgres

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
    """Replays: what they came to, and how they go. Workers carry them on by themselves."""


@command.command("list")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
@json_option
@click.pass_obj
def list_(environment: Environment, limit: int, *, as_json: bool) -> None:
    """List replays, newest first."""
    found = asyncio.run(_list(environment, limit))
    emit(as_json, {"replays": found}, lambda: table(found, _COLUMNS))


@command.command()
@click.argument("replay_id", metavar="ID", type=click.UUID)
@json_option
@click.pass_obj
def show(environment: Environment, replay_id: UUID, *, as_json: bool) -> None:
    """Show one: what was asked for, how far it is, and what it came to."""
    found = asyncio.run(_show(environment, replay_id))
    emit(as_json, found, lambda: facts(_for_people(found), f"Replay {replay_id}"))


@command.command()
@click.argument("replay_id", metavar="ID", type=click.UUID)
@json_option
@click.pass_obj
def pause(environment: Environment, replay_id: UUID, *, as_json: bool) -> None:
    """Let it rest; what it has done stays done."""
    _put(environment, replay_id, "paused", as_json=as_json)


@command.command()
@click.argument("replay_id", metavar="ID", type=click.UUID)
@json_option
@click.pass_obj
def resume(environment: Environment, replay_id: UUID, *, as_json: bool) -> None:
    """Let a paused one go on where it was."""
    _put(environment, replay_id, "running", as_json=as_json)


@command.command()
@click.argument("replay_id", metavar="ID", type=click.UUID)
@json_option
@click.pass_obj
def cancel(environment: Environment, replay_id: UUID, *, as_json: bool) -> None:
    """Stop it for good; what it has done stays done."""
    _put(environment, replay_id, "cancelled", as_json=as_json)


def _put(
    environment: Environment, replay_id: UUID, status: str, *, as_json: bool
) -> None:
    asyncio.run(_set(environment, replay_id, status))
    document = {"id": replay_id, "status": status}
    emit(as_json, document, lambda: click.echo(f"Replay {replay_id} is {status}."))


async def _list(environment: Environment, limit: int) -> list[dict[str, Any]]:
    async with postgres(environment) as connection:
        return await replaying.listed(connection, limit)


async def _show(environment: Environment, replay_id: UUID) -> dict[str, Any]:
    async with postgres(environment) as connection:
        found = await replaying.read(connection, replay_id)
    asked = orjson.loads(found["requested"])
    return found | {
        "requested": {k: v for k, v in asked.items() if v not in (None, [])}
    }


async def _set(environment: Environment, replay_id: UUID, status: str) -> None:
    async with postgres(environment) as connection:
        await replaying.put(connection, replay_id, status)


def _for_people(found: dict[str, Any]) -> dict[str, Any]:
    asked = found["requested"]
    return found | {"requested": [f"{name} {value}" for name, value in asked.items()]}
