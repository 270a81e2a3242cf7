"""`reftide keys`: API keys of clients. A key is shown once; its HMAC is what is kept."""

import asyncio
import secrets
import sys
from copy import copy
from typing import Any, Final
from uuid import UUID

import click
from uuid_utils.compat import uuid7

from ingest.contracts import apikey
from scripts.environment import Environment
from scripts.output import UsageProblem, emit, facts, json_option, require_change, table
from scripts.servers import Connection, postgres, rows
from scripts.services.administer import names
from scripts.services.administer.workspaces import choose, filter_by
from scripts.sql import statements

_SQL: Final = statements("services/administer/keys")
_COLUMNS: Final = (
    "id", "name", "last_four", "scopes", "workspace", "created_at", "revoked_at",
)  # fmt: skip
_PREFIX: Final = "rt_live_"
_ENTROPY_BYTES: Final = 32
_SCOPES: Final = ("track", "read", "write", "forward", "*")

_workspace_option = click.option("--workspace", metavar="NAME", help="Whose.")


def _scopes(value: str) -> list[str]:
    asked = {scope.strip() for scope in value.split(",")}
    unknown = ", ".join(sorted(asked.difference(_SCOPES)))
    if unknown:
        raise click.BadParameter(f"{unknown!r}: choose from {', '.join(_SCOPES)}")
    return sorted(asked)


def _secret(value: str) -> str:
    if value == "-":
        value = sys.stdin.read().rstrip("\r\n")
    return names.secret(value)


@click.group(
    epilog="""\b
  reftide keys add --scopes track --name "web shop"
  reftide keys add --scopes track --secret - < key-of-the-old-system
  reftide keys revoke 01890a5d-ac96-774b-bcce-b302099a8057
"""
)
def command() -> None:
    """API keys let clients report leads (track) and read (read, write).

    One that may `forward` says in a batch from which address and when an event came: it
    is for servers, and never for pages.
    """


@command.command()
@click.option(
    "--scopes",
    type=_scopes,
    required=True,
    metavar="S[,S]",
    help="What it may do: track, read, write, forward, or * for everything.",
)
@click.option("--name", default="", help="What you call it.")
@click.option(
    "--secret",
    type=_secret,
    metavar="KEY",
    help="Import a key that clients have already; - reads it from standard input.",
)
@_workspace_option
@json_option
@click.pass_obj
def add(environment: Environment, /, *, as_json: bool, **given: Any) -> None:
    """Make a key and show it, this once; or import one with --secret."""
    row = asyncio.run(_add(environment, given))

    def for_people() -> None:
        facts(row, "API key")
        if given["secret"] is None:
            click.echo("Keep the secret now: it cannot be shown again.")

    emit(as_json, row, for_people)


@command.command("list")
@_workspace_option
@click.option("--all", "with_revoked", is_flag=True, help="Revoked ones too.")
@json_option
@click.pass_obj
def list_(
    environment: Environment,
    workspace: str | None,
    *,
    with_revoked: bool,
    as_json: bool,
) -> None:
    """List the keys that work, newest first."""
    rows = asyncio.run(_list(environment, workspace, with_revoked=with_revoked))
    emit(as_json, rows, lambda: table(rows, _COLUMNS))


@command.command()
@click.argument("key_id", metavar="ID", type=click.UUID)
@json_option
@click.pass_obj
def show(environment: Environment, key_id: UUID, *, as_json: bool) -> None:
    """Show what is known of a key, by its id."""
    row = asyncio.run(_show(environment, key_id))
    emit(as_json, row, lambda: facts(row, "API key"))


@command.command("set")
@click.argument("key_id", metavar="ID", type=click.UUID)
@click.option("--name", help="A new name.")
@click.option("--scopes", type=_scopes, metavar="S[,S]", help="What it may do now.")
@json_option
@click.pass_obj
def set_(
    environment: Environment,
    key_id: UUID,
    name: str | None,
    scopes: list[str] | None,
    *,
    as_json: bool,
) -> None:
    """Change a key's name or scopes; edges know within a second."""
    require_change((name, scopes))
    row = asyncio.run(_set(environment, key_id, name, scopes))
    emit(as_json, row, lambda: facts(row, "API key"))


@click.command()
@click.argument("key_id", metavar="ID", type=click.UUID)
@json_option
@click.pass_obj
def _revoke(environment: Environment, key_id: UUID, *, as_json: bool) -> None:
    """Refuse a key from now on, for good; edges know within a second."""
    row = asyncio.run(_end(environment, key_id))
    emit(as_json, row, lambda: click.echo(f"Key …{row['last_four']} is revoked."))


command.add_command(_revoke, "revoke")
# What is switched off elsewhere is disabled: whoever types that means this.
_disable = copy(_revoke)
_disable.hidden = True
command.add_command(_disable, "disable")


async def _add(environment: Environment, given: dict[str, Any]) -> dict[str, Any]:
    secret = given["secret"]
    if secret is None:
        secret = apikey.mint(_PREFIX, secrets.token_bytes(_ENTROPY_BYTES))
    hashes = apikey.hashes(environment.secrets(), secret)
    async with postgres(environment) as connection, connection.transaction():
        owner = await choose(connection, given["workspace"])
        known = await connection.fetchval(_SQL["known"], hashes)
        key_id = None
        if known is None:
            key_id = await connection.fetchval(
                _SQL["add"],
                uuid7(),
                owner.id,
                given["name"],
                hashes[0],
                secret[-4:],
                given["scopes"],
            )
        if key_id is None:
            # Another may have imported it since we looked.
            known = known or await connection.fetchval(_SQL["known"], hashes)
            raise UsageProblem(
                f"This key is known already, as {known}.",
                f"see `reftide keys show {known}`.",
            )
    return {
        "id": key_id,
        "secret": secret,
        "scopes": given["scopes"],
        "name": given["name"],
        "workspace": owner.name,
    }


async def _list(
    environment: Environment, workspace: str | None, *, with_revoked: bool
) -> list[dict[str, Any]]:
    async with postgres(environment) as connection:
        owner = await filter_by(connection, workspace)
        return await rows(connection, _SQL["list"], owner, with_revoked)


async def _show(environment: Environment, key_id: UUID) -> dict[str, Any]:
    async with postgres(environment) as connection:
        return await _the_key(connection, key_id)


async def _set(
    environment: Environment, key_id: UUID, name: str | None, scopes: list[str] | None
) -> dict[str, Any]:
    async with postgres(environment) as connection:
        await _the_key(connection, key_id)
        await connection.execute(_SQL["set"], key_id, name, scopes)
        return await _the_key(connection, key_id)


async def _end(environment: Environment, key_id: UUID) -> dict[str, Any]:
    async with postgres(environment) as connection:
        await _the_key(connection, key_id)
        await connection.execute(_SQL["revoke"], key_id)
        return await _the_key(connection, key_id)


async def _the_key(connection: Connection, key_id: UUID) -> dict[str, Any]:
    row = await connection.fetchrow(_SQL["one"], key_id)
    if row is None:
        raise UsageProblem(
            f"There is no key {key_id}.", "see `reftide keys list --all`."
        )
    return dict(row)
