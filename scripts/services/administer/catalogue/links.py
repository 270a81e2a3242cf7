"""Links: a code, the program and partner behind it, and where it leads.

A code leads to one link: no link gets a code that another one has or had.
"""

import shlex
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import quote
from uuid import UUID

import asyncpg
from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from ingest.contracts.directory import DEFAULT_NAMESPACE, workspace_namespace
from ingest.redirect.destination import CLICK_PARAM
from scripts.errors import AlreadyExists, UsageProblem
from scripts.servers import Connection, required, single
from scripts.services import parsers
from scripts.services.administer.access.domains import require_owner, require_scheme
from scripts.services.administer.access.workspaces import (
    Workspace,
    choose,
    listing,
    named,
)
from scripts.services.administer.catalogue.aliases import ALIASES
from scripts.services.administer.catalogue.link_lookup import (
    any_link,
    code_is_free,
    namespace_of,
)
from scripts.services.administer.catalogue.partners import the_partner
from scripts.services.administer.catalogue.programs import the_program
from scripts.services.administer.catalogue.unknown_codes import unknown_codes
from scripts.services.noun import Noun, NounFacts, NounField, Row, Table
from scripts.sql import statements

_SQL: Final = statements("services/administer/catalogue/links")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewLink:
    """A link as it was asked for. Without a workspace it is its program's.

    Its code is unique on its domain; without one, in the installation, or, if
    `is_own`, in its workspace.
    """

    code: str
    domain: str | None = None
    is_own: bool = False
    program: int | None = None
    partner: str | None = None
    url: str | None = None
    public_id: str | None = None
    inactive: bool = False
    workspace: str | None = None
    #: As `parsers.end` gives it.
    expires_at: str | None = None
    fallback_url: str | None = None
    click_param: str | None = None
    #: As `parsers.discount` gives it.
    discount: str | None = None
    external_id: str | None = None


class _Sides(NamedTuple):
    """The ids of a link's program and partner, and the program's URL, where it has them."""

    program: UUID | None = None
    partner: UUID | None = None
    url: str = ""


async def add_link(connection: Connection, wanted: NewLink) -> Row:
    """Make it and enrol its partner. Raises UsageProblem where something is not as it must be."""
    owner = await _owner(connection, wanted)
    if wanted.domain is not None:
        await require_owner(connection, wanted.domain, owner)
    if wanted.url is not None:
        await require_scheme(connection, wanted.domain, wanted.url)
    sides = await _sides(connection, wanted.program, wanted.partner, owner)
    await connection.execute(_SQL["one_writer"])
    namespace = (
        workspace_namespace(owner.id) if wanted.is_own else namespace_of(wanted.domain)
    )
    await code_is_free(connection, namespace, wanted.code)
    if wanted.public_id is not None:
        # Links are named by either: one name is to mean one link.
        await code_is_free(connection, DEFAULT_NAMESPACE, wanted.public_id)
    taken = AlreadyExists(
        f"Another link has the public id {wanted.public_id!r}.", "choose another one."
    )
    link_id = uuid7()
    await required(
        connection,
        taken,
        _SQL["add"],
        link_id,
        owner.id,
        wanted.public_id or parsers.public_id("lnk_"),
        namespace,
        wanted.code,
        wanted.domain or "",
        wanted.url or sides.url,
        sides.program,
        sides.partner,
        not wanted.inactive,
    )
    await _enrol(connection, sides.program, sides.partner)
    ends = wanted.expires_at, wanted.fallback_url, wanted.click_param
    await connection.execute(_SQL["lead"], link_id, *ends)
    if wanted.discount is not None:
        await connection.execute(_SQL["discount"], link_id, wanted.discount)
    await _give_external_id(connection, link_id, wanted.external_id)
    await connection.execute(_SQL["in_small_letters"], link_id)
    return await any_link(connection, link_id, None)


async def _give_external_id(
    connection: Connection, link_id: UUID, external_id: str | None
) -> None:
    try:
        await connection.execute(_SQL["external"], link_id, external_id)
    except asyncpg.UniqueViolationError as error:
        raise AlreadyExists(
            f"Another link has the external id {external_id!r}.",
            "choose another one, or change that link.",
        ) from error


def _made(row: Row) -> str:
    return f"Link {row['code']} ({row['public_id']}) made in {row['workspace']}." + (
        _what_it_lacks(row)
    )


def _what_it_lacks(row: Row) -> str:
    options = {"program": "--program N", "partner": "--partner CODE"}
    missing = [option for side, option in options.items() if row[side] is None]
    if not missing:
        return ""
    return (
        "\nAffitor's clicks on it are refused until"
        f" `reftide links set {_name(row)} {' '.join(missing)}`."
    )


def _changed(row: Row) -> str:
    changed = f"Link {row['code']} changed."
    if not row["events_that_stay"]:
        return changed
    former = row["former_partner"] or "no partner"
    return (
        f"{changed}\n{row['events_that_stay']:,} of its events stay with {former}, or with"
        f" the partner that had the link when they came. To move them to {row['partner']}:\n"
        f"  {row['move_them']}"
    )


def _name(link: Row) -> str:
    # Elsewhere a code alone may mean another link.
    is_plain = link["namespace"] == DEFAULT_NAMESPACE
    return shlex.quote(link["code" if is_plain else "public_id"])


LINKS: Final = Noun(
    "links",
    "A link is a code, the program and partner behind it, and where it leads.",
    """
    reftide links add SUMMER --program 1 --partner jane --url https://shop.example
    reftide links add jane --program 1 --partner jane --namespace workspace
    reftide links set SUMMER --code SUMMER26      the old code keeps working
    reftide links alias add SUMER --link SUMMER   a misprint counts too
    reftide links unknown                         codes in use that no link has
    reftide links disable SUMMER26
    """,
    inactive=NounField("Switched off to begin with.", default=False, is_switch=True),
    namespace=NounField(
        "Where the code is unique if it has no domain; the installation by default.",
        choices=("installation", "workspace"),
    ),
    new_code=NounField(
        "A new code; the old one stays.", parsers.link_code, "CODE", option="code"
    ),
    url=NounField(
        "Where it leads; at first where the program's links do.", parsers.destination
    ),
    expires_at=NounField(
        "From when on redirects lead to the fallback: a date, or never.",
        parsers.end,
        "DATE",
    ),
    fallback_url=NounField(
        "Where redirects lead while it is off or over; '' for its program's.",
        parsers.fallback_url,
        "URL",
    ),
    click_param=NounField(
        f"The URL's parameter for the click id; by default, and by '', {CLICK_PARAM}.",
        parsers.parameter,
        "NAME",
    ),
    external_id=NounField(
        "The id that another system of yours gives it.", parsers.code, "ID"
    ),
    discount=NounField(
        "What Dub's answers say that customers save, as JSON: its amount, its type, and"
        " what else Dub knows; '' for nothing.",
        parsers.discount,
        "JSON",
    ),
)
LINKS.inner.append(ALIASES)


@LINKS.action(
    "NEW_CODE --domain --program --partner --url --expires-at --fallback-url"
    " --click-param --discount --public-id --external-id --inactive --namespace"
    " --workspace",
    _made,
)
async def add(
    connection: Connection, new_code: str, *, namespace: str | None, **given: Any
) -> Row:
    """Make a link with CODE; clicks on it count within a second."""
    if namespace is not None and given["domain"] is not None:
        raise UsageProblem(
            "A code is unique on its domain, or in a namespace, not in both.",
            "leave out --namespace, or --domain.",
        )
    is_own = namespace == "workspace"
    return await add_link(connection, NewLink(code=new_code, is_own=is_own, **given))


listing(
    LINKS,
    "--program --partner --workspace --limit --after",
    Table(
        "code domain public_id program partner is_active unique_clicks clicks leads sales url"
    ),
    _SQL["list"],
    "List the links, newest first.",
)


@LINKS.action("CODE --domain", NounFacts("Link {code}"))
async def show(connection: Connection, code: str | UUID, domain: str | None) -> Row:
    """Show a link by CODE, a former code, or its public id."""
    link = await any_link(connection, code, domain)
    return link | {"redirect": redirect_of(link)}


def redirect_of(link: Row) -> str:
    """The address that leads to a link: on its domain, else a path of any edge."""
    code = quote(link["code"], safe="/")
    return f"https://{link['domain']}/{code}" if link["domain"] else f"/r/{code}"


@LINKS.action(
    "CODE --domain | --new-code --url --expires-at --fallback-url --click-param"
    " --discount --program --partner --external-id",
    _changed,
)
async def set_(
    connection: Connection,
    code: str | UUID,
    domain: str | None,
    *,
    new_code: str | None,
    url: str | None,
    **more: Any,
) -> Row:
    """Change a link; what is not given stays. What it has counted stays with its partner."""
    if new_code is not None:
        # Workers lock a link after this; and a rename beside us ends before we look.
        await connection.execute(_SQL["one_writer"])
    link = await any_link(connection, code, domain)
    if url is not None:
        await require_scheme(connection, link["domain"] or None, url)
    owner = Workspace(link["workspace_id"], link["workspace"])
    new = await _sides(connection, more["program"], more["partner"], owner)
    ends = (more[name] for name in ("expires_at", "fallback_url", "click_param"))
    await connection.execute(_SQL["lead"], link["id"], *ends)
    if (discount := more["discount"]) is not None:
        await connection.execute(_SQL["discount"], link["id"], discount)
    await _give_external_id(connection, link["id"], more["external_id"])
    now = await single(
        connection, _SQL["set"], link["id"], url, new.program, new.partner
    )
    await _enrol(connection, now["program_id"], now["partner_id"])
    if new_code is not None and new_code != link["code"]:
        await _rename(connection, link, new_code)
    changed = await any_link(connection, link["id"], None)
    return changed | await _staying(connection, link, changed)


async def _staying(connection: Connection, before: Row, link: Row) -> Row:
    """How many events a change of the partner left behind, and the command that moves them."""
    counted = await single(connection, _SQL["counted"], link["id"])
    if before["partner_id"] == link["partner_id"] or not counted["events"]:
        return {"events_that_stay": 0}
    command = f"reftide replay --from {counted['first']} --link {_name(link)}"
    return {
        "events_that_stay": counted["events"],
        "former_partner": before["partner"],
        "move_them": f"{command} --mode reprocess",
    }


@LINKS.action("CODE --domain", "Link {code} is off.")
async def disable(connection: Connection, code: str | UUID, domain: str | None) -> Row:
    """Switch a link off: its clicks are refused as its vendor refuses them."""
    return await _switch(connection, await any_link(connection, code, domain), on=False)


@LINKS.action("CODE --domain", "Link {code} is on.")
async def enable(connection: Connection, code: str | UUID, domain: str | None) -> Row:
    """Switch a link on again."""
    return await _switch(connection, await any_link(connection, code, domain), on=True)


@LINKS.action(
    "--limit",
    Table(
        "host code count first_seen last_seen suggestion",
        empty="No unknown codes.",
        key="unknown_codes",
    ),
    asks_redis=True,
)
async def unknown(connection: Connection, redis: Redis, limit: int) -> list[Row]:
    """List codes of the last weeks that no link has, most frequent first.

    The suggestion is the code that is most like it. `reftide links alias add CODE --link
    SUGGESTION` lets it count.
    """
    return await unknown_codes(connection, redis, limit)


async def _switch(connection: Connection, link: Row, *, on: bool) -> Row:
    await connection.execute(_SQL["switch"], link["id"], on)
    return link | {"is_active": on}


async def _rename(connection: Connection, link: Row, code: str) -> None:
    namespace = link["namespace"]
    await connection.execute(_SQL["unalias"], namespace, code, link["id"])
    await code_is_free(connection, namespace, code)
    await connection.execute(_SQL["rename"], link["id"], code)
    await connection.execute(_SQL["in_small_letters"], link["id"])
    await connection.execute(_SQL["alias"], namespace, link["code"], link["id"])


async def _owner(connection: Connection, wanted: NewLink) -> Workspace:
    if wanted.workspace is None and wanted.program is not None:
        program = await the_program(connection, wanted.program)
        return await named(connection, program["workspace"])
    return await choose(connection, wanted.workspace)


async def _sides(
    connection: Connection, number: int | None, code: str | None, owner: Workspace
) -> _Sides:
    sides = _Sides()
    if number is not None:
        program = await the_program(connection, number)
        if program["workspace_id"] != owner.id:
            raise UsageProblem(
                f"Program {number} belongs to workspace {program['workspace']},"
                f" the link to {owner.name}.",
                f"see `reftide programs list --workspace {owner.name}`.",
            )
        sides = _Sides(program["id"], None, program["url"])
    if code is not None:
        partner = await the_partner(connection, code, owner.id)
        sides = sides._replace(partner=partner["id"])
    return sides


async def _enrol(
    connection: Connection, program: UUID | None, partner: UUID | None
) -> None:
    if program is not None and partner is not None:
        await connection.execute(_SQL["enrol"], program, partner)
