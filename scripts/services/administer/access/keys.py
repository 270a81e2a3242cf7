"""API keys of clients. A key is shown once; its HMAC is what is kept."""

import secrets as randomness
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from uuid_utils.compat import uuid7

from ingest.contracts import apikey
from scripts.errors import UsageProblem
from scripts.servers import Connection, required
from scripts.services import parsers
from scripts.services.administer.access.workspaces import choose, listing
from scripts.services.noun import Facts, Field, Noun, Row, Table
from scripts.sql import statements

_SQL: Final = statements("services/administer/access/keys")
_PREFIX: Final = "rt_live_"
_ENTROPY_BYTES: Final = 32
_SCOPES: Final = ("track", "read", "write", "forward", "*")


def _scopes(value: str) -> list[str]:
    asked = {scope.strip() for scope in value.split(",")}
    unknown = ", ".join(sorted(asked.difference(_SCOPES)))
    if unknown:
        raise ValueError(f"{unknown!r}: choose from {', '.join(_SCOPES)}")
    return sorted(asked)


def _note(given: Mapping[str, Any]) -> str:
    return "" if given["secret"] else "Keep the secret now: it cannot be shown again."


KEYS: Final = Noun(
    "keys",
    """API keys let clients report leads (track), read statistics (read) and make links (write).

    A key with `forward` says from which address a request comes: in X-Reftide-Forward,
    beside X-Forwarded-For. In a batch it also says from where and when an event came. It is
    believed on every route, whatever link it is about. Give it to your own servers only.
    """,
    """
    reftide keys add --scopes track --name "web shop"
    reftide keys add --scopes track --secret - < key-of-the-old-system
    reftide keys revoke 01890a5d-ac96-774b-bcce-b302099a8057
    """,
    key_id=Field(parse=parsers.uuid, metavar="ID"),
    scopes=Field(
        "What it may do: track, read, write, forward, or * for everything.",
        _scopes,
        "S[,S]",
    ),
    secret=Field(
        "Import a key that clients have already; - reads it from standard input.",
        parsers.secret,
        "KEY",
        may_be_piped=True,
    ),
    with_revoked=Field(
        "Revoked ones too.", default=False, option="all", is_switch=True
    ),
)


async def known_as(connection: Connection, hashes: Sequence[bytes]) -> UUID | None:
    """The id of the key that has one of the hashes."""
    found: UUID | None = await connection.fetchval(_SQL["known"], hashes)
    return found


@KEYS.action(
    "--scopes! --name --secret --workspace",
    Facts("API key", note=_note),
    is_sealing=True,
)
async def add(
    connection: Connection,
    *,
    secrets: Sequence[bytes],
    secret: str | None,
    scopes: list[str],
    name: str | None,
    workspace: str | None,
) -> Row:
    """Make a key and show it, this once; or import one with --secret."""
    if secret is None:
        secret = apikey.mint(_PREFIX, randomness.token_bytes(_ENTROPY_BYTES))
    hashes = apikey.hashes(secrets, secret)
    owner = await choose(connection, workspace)
    made = uuid7()
    new = (made, owner.id, name or "", hashes[0], secret[-4:], scopes)
    known = await known_as(connection, hashes)
    if known or await connection.fetchval(_SQL["add"], *new) is None:
        # Another may have imported it since we looked.
        known = known or await known_as(connection, hashes)
        raise UsageProblem(
            f"This key is known already, as {known}.",
            f"see `reftide keys show {known}`.",
        )
    return {
        "id": made,
        "secret": secret,
        "scopes": scopes,
        "name": name or "",
        "workspace": owner.name,
    }


listing(
    KEYS,
    "--workspace --with-revoked",
    Table("id name last_four scopes workspace created_at revoked_at"),
    _SQL["list"],
    "List the keys that work, newest first.",
)


@KEYS.action("KEY_ID", Facts("API key"))
async def show(connection: Connection, key_id: UUID) -> Row:
    """Show what is known of a key, by its id."""
    unknown = UsageProblem(
        f"There is no key {key_id}.", "see `reftide keys list --all`."
    )
    return await required(connection, unknown, _SQL["one"], key_id)


@KEYS.action("KEY_ID | --name --scopes", Facts("API key"))
async def set_(
    connection: Connection, key_id: UUID, name: str | None, scopes: list[str] | None
) -> Row:
    """Change a key's name or scopes; edges know within a second."""
    await connection.execute(_SQL["set"], key_id, name, scopes)
    return await show(connection, key_id)


@KEYS.action("KEY_ID", "Key …{last_four} is revoked.", hidden_alias="disable")
async def revoke(connection: Connection, key_id: UUID) -> Row:
    """Refuse a key from now on, for good; edges know within a second."""
    await connection.execute(_SQL["revoke"], key_id)
    return await show(connection, key_id)
