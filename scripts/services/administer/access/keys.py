"""API keys of clients. A key is shown once; its HMAC is what is kept."""

import secrets as randomness
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from uuid_utils.compat import uuid7

from ingest.contracts import apikey
from scripts.errors import AlreadyExists, UsageProblem
from scripts.servers import Connection, required
from scripts.services import parsers
from scripts.services.administer.access.workspaces import choose, listing
from scripts.services.noun import Noun, NounFacts, NounField, Row, Table
from scripts.sql import statements

_SQL: Final = statements("services/administer/access/keys")
_LIVE_PREFIX: Final = "rt_live_"
_PREFIX_IN_PAGES: Final = apikey.PUBLISHABLE_PREFIXES[0]
_ENTROPY_BYTES: Final = 32
#: What the control API asks for.
_CONTROL: Final = ("links:read", "links:write", "stats:read")
_SCOPES: Final = (
    *("track", "read", "write", "forward", *_CONTROL, "*"),
    *sorted(apikey.PUBLISHABLE),
)
_MOST_ORIGINS: Final = 100


def _scopes(value: str) -> list[str]:
    asked = _listed(value)
    unknown = ", ".join(sorted(asked.difference(_SCOPES)))
    if unknown:
        raise ValueError(f"{unknown!r}: choose from {', '.join(_SCOPES)}")
    if not asked.isdisjoint(apikey.PUBLISHABLE) and not asked <= apikey.PUBLISHABLE:
        raise ValueError("a key that anybody may read is publishable and nothing else")
    return sorted(asked)


def _origins(value: str) -> list[str]:
    asked = sorted(map(parsers.origin, _listed(value)))
    if len(asked) > _MOST_ORIGINS:
        raise ValueError(f"these are more than {_MOST_ORIGINS} origins")
    return asked


def _listed(value: str) -> set[str]:
    return {each.strip() for each in value.split(",")}


def _note(given: Mapping[str, Any]) -> str:
    if given["publishable"]:
        return "It may stand in your pages; servers need another."
    return "" if given["secret"] else "Keep the secret now: it cannot be shown again."


KEYS: Final = Noun(
    "keys",
    """API keys let clients report leads (track), read statistics (read) and make links (write).

    The control API takes keys with `links:read`, `links:write` (links, partners, programs,
    domains, milestones, and switches of them) and `stats:read`; other keys are made and revoked
    there with `*` alone.

    A key with `forward` says from which address a request comes: in X-Reftide-Forward,
    beside X-Forwarded-For. In a batch it also says from where and when an event came. It is
    believed on every route, whatever link it is about. Give it to your own servers only.

    A publishable key stands in web pages: it reports leads from browsers, from its origins
    only, and vouches for nothing. A sale that it reports (publish_sale) counts once a secret
    key reports the same.
    """,
    """
    reftide keys add --scopes track --name "web shop"
    reftide keys add --publishable --origins https://shop.example,https://*.shop.example
    reftide keys add --scopes track --secret - < key-of-the-old-system
    reftide keys revoke 01890a5d-ac96-774b-bcce-b302099a8057
    """,
    key_id=NounField(parse=parsers.uuid, metavar="ID"),
    scopes=NounField(
        "What it may do: track, read, write, forward; of the control API links:read,"
        " links:write, stats:read; or * for everything. If it is publishable: publish,"
        " publish_sale.",
        _scopes,
        "S[,S]",
    ),
    publishable=NounField(
        "A key for web pages, with the scope publish.", default=False, is_switch=True
    ),
    origins=NounField(
        "From where browsers may use a publishable key; https://*.shop.example stands for"
        " all subdomains, * for everywhere.",
        _origins,
        "ORIGIN[,ORIGIN]",
    ),
    secret=NounField(
        "Import a key that clients have already; - reads it from standard input.",
        parsers.secret,
        "KEY",
        may_be_piped=True,
    ),
    with_revoked=NounField(
        "Revoked ones too.", default=False, option="all", is_switch=True
    ),
)


async def known_as(connection: Connection, hashes: Sequence[bytes]) -> UUID | None:
    """The id of the key that has one of the hashes."""
    found: UUID | None = await connection.fetchval(_SQL["known"], hashes)
    return found


@KEYS.action(
    "--scopes --publishable --origins --name --secret --workspace",
    NounFacts("API key", note=_note),
    is_sealing=True,
)
async def add(
    connection: Connection,
    *,
    secrets: Sequence[bytes],
    secret: str | None,
    name: str | None,
    workspace: str | None,
    **rights: Any,
) -> Row:
    """Make a key and show it, this once; or import one with --secret."""
    scopes, origins = _rights(**rights)
    is_publishable = bool(origins)
    if secret is None:
        prefix = _PREFIX_IN_PAGES if is_publishable else _LIVE_PREFIX
        secret = apikey.mint(prefix, randomness.token_bytes(_ENTROPY_BYTES))
    if is_publishable != apikey.looks_publishable(secret):
        raise _misnamed(is_publishable=is_publishable)
    hashes = apikey.hashes(secrets, secret)
    owner = await choose(connection, workspace)
    made = uuid7()
    new = (made, owner.id, name or "", hashes[0], secret[-4:], scopes, origins)
    known = await known_as(connection, hashes)
    if known or await connection.fetchval(_SQL["add"], *new) is None:
        # Another may have imported it since we looked.
        known = known or await known_as(connection, hashes)
        raise AlreadyExists(
            f"This key is known already, as {known}.",
            f"see `reftide keys show {known}`.",
        )
    return {
        "id": made,
        "secret": secret,
        "scopes": scopes,
        "origins": origins,
        "name": name or "",
        "workspace": owner.name,
    }


def _rights(
    *,
    scopes: list[str] | None,
    publishable: bool = False,
    origins: list[str] | None = None,
) -> tuple[list[str], list[str]]:
    """The scopes and origins of a new key; raises UsageProblem."""
    if scopes is None and not publishable:
        raise UsageProblem(
            "Nothing says what the key may do.", "add --scopes track, or --publishable."
        )
    scopes = scopes or [apikey.PUBLISH]
    _check_rights(scopes, origins or [], is_publishable=publishable)
    return scopes, origins or []


def _check_rights(
    scopes: list[str], origins: list[str], *, is_publishable: bool
) -> None:
    """Raise UsageProblem for a key that could not be used, or by too many."""
    if is_publishable and apikey.PUBLISHABLE.isdisjoint(scopes):
        raise UsageProblem(
            "A publishable key has no such scopes.",
            f"choose from {', '.join(sorted(apikey.PUBLISHABLE))}.",
        )
    if not is_publishable and not apikey.PUBLISHABLE.isdisjoint(scopes):
        raise UsageProblem(
            "These are the scopes of a publishable key.", "add --publishable."
        )
    if is_publishable and not origins:
        raise UsageProblem(
            "A publishable key is used from web pages, and nothing says which.",
            "add --origins https://shop.example, or --origins '*' for everywhere.",
        )
    if origins and not is_publishable:
        raise UsageProblem(
            "A secret key has no origins: it is for servers.",
            "leave --origins out, or add --publishable.",
        )


def _misnamed(*, is_publishable: bool) -> UsageProblem:
    prefixes = " or ".join(apikey.PUBLISHABLE_PREFIXES)
    if is_publishable:
        return UsageProblem(
            f"A publishable key begins with {prefixes}.",
            "leave --secret out to get a new one.",
        )
    return UsageProblem(
        f"What begins with {prefixes} is a publishable key, and no secret.",
        "add --publishable and --origins.",
    )


listing(
    KEYS,
    "--workspace --with-revoked --after",
    Table("id name last_four scopes workspace created_at revoked_at"),
    _SQL["list"],
    "List the keys that work, newest first.",
)


@KEYS.action("KEY_ID", NounFacts("API key"))
async def show(connection: Connection, key_id: UUID) -> Row:
    """Show what is known of a key, by its id."""
    unknown = UsageProblem(
        f"There is no key {key_id}.", "see `reftide keys list --all`."
    )
    return await required(connection, unknown, _SQL["one"], key_id)


@KEYS.action("KEY_ID | --name --scopes --origins", NounFacts("API key"))
async def set_(
    connection: Connection,
    key_id: UUID,
    name: str | None,
    scopes: list[str] | None,
    origins: list[str] | None,
) -> Row:
    """Change a key's name, scopes or origins; edges know within a second."""
    former = await show(connection, key_id)
    _check_rights(
        scopes or former["scopes"],
        origins or former["origins"],
        is_publishable=bool(former["origins"]),
    )
    await connection.execute(_SQL["set"], key_id, name, scopes, origins)
    return await show(connection, key_id)


@KEYS.action("KEY_ID", "Key …{last_four} is revoked.", hidden_alias="disable")
async def revoke(connection: Connection, key_id: UUID) -> Row:
    """Refuse a key from now on, for good; edges know within a second."""
    await connection.execute(_SQL["revoke"], key_id)
    return await show(connection, key_id)
