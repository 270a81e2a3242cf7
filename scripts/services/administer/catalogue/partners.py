"""Partners: who promotes programs, by links."""

from typing import Final
from uuid import UUID

import asyncpg
from uuid_utils.compat import uuid7

from scripts.errors import AlreadyExists, UsageProblem
from scripts.servers import Connection, required, rows, single
from scripts.services import parsers
from scripts.services.administer.access.workspaces import choose, filter_by, listing
from scripts.services.noun import Noun, NounFacts, NounField, Row, Table
from scripts.sql import statements
from workers.counters.rule import NAMES

_SQL: Final = statements("services/administer/catalogue/partners")

_PROGRAMS: Final = Table(f"program name {' '.join(NAMES)} amounts", "Programs")

PARTNERS: Final = Noun(
    "partners",
    "Partners promote programs by their links.",
    """
    reftide partners add jane --name "Jane Doe" --email jane@example.com
    reftide partners show jane
    """,
    email=NounField("How to reach them."),
    image=NounField("The URL of their picture; '' for none.", parsers.web_url, "URL"),
)


async def the_partner(
    connection: Connection, code: str | UUID, workspace: UUID | None
) -> Row:
    """By code or public id; a UUID is the id of a row that was found before.

    Raises UsageProblem for an unknown one, or where two have it.
    """
    if isinstance(code, UUID):
        return await single(connection, _SQL["row"], code)
    found = await connection.fetch(_SQL["called"], code, workspace)
    if not found:
        raise UsageProblem(
            f"There is no partner {code!r}"
            + (" in this workspace." if workspace else "."),
            f"see `reftide partners list`, or make it: `reftide partners add {code}`.",
        )
    if len(found) > 1:
        raise UsageProblem(
            f"Several workspaces have a partner {code!r}.",
            "say which with --workspace, or name its public id.",
        )
    return dict(found[0])


@PARTNERS.action(
    "NEW_CODE --name --email --image --public-id --workspace",
    "Partner {code} ({public_id}) made in {workspace}.",
)
async def add(
    connection: Connection,
    new_code: str,
    *,
    public_id: str | None = None,
    workspace: str | None,
    **given: str | None,
) -> Row:
    """Make a partner known as CODE."""
    owner = await choose(connection, workspace)
    shown = public_id or parsers.public_id("prt_")
    about = given.get("name") or "", given.get("email"), given.get("image")
    new = (uuid7(), owner.id, shown, new_code, *about)
    taken = AlreadyExists(
        f"Workspace {owner.name} has a partner {new_code!r}, or the public id is"
        " taken, already.",
        f"see `reftide partners show {new_code}`.",
    )
    await required(connection, taken, _SQL["add"], *new)
    return await the_partner(connection, new_code, owner.id)


list_ = listing(
    PARTNERS,
    "--workspace --limit --after",
    Table("code public_id name email workspace links"),
    _SQL["list"],
    "List the partners, newest first.",
)


@PARTNERS.action(
    "CODE --workspace", NounFacts("Partner {code}", {"programs": _PROGRAMS})
)
async def show(connection: Connection, code: str | UUID, workspace: str | None) -> Row:
    """Show a partner, by CODE or public id, and what it brought."""
    owner = await filter_by(connection, workspace)
    row = await the_partner(connection, code, owner)
    return row | {"programs": await rows(connection, _SQL["enrolments"], row["id"])}


@PARTNERS.action(
    "CODE --workspace | --new-code --name --email --image", "Partner {code} changed."
)
async def set_(
    connection: Connection,
    code: str | UUID,
    workspace: str | None,
    *,
    new_code: str | None,
    **given: str | None,
) -> Row:
    """Change a partner; what is not given stays."""
    owner = await filter_by(connection, workspace)
    row = await the_partner(connection, code, owner)
    about = given["name"], given["email"], given["image"]
    try:
        await connection.execute(_SQL["set"], row["id"], new_code, *about)
    except asyncpg.UniqueViolationError as error:
        raise AlreadyExists(
            f"Another partner of {row['workspace']} is called {new_code!r}.",
            "choose another code.",
        ) from error
    return await the_partner(connection, row["id"], None)
