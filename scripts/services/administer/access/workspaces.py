"""Workspaces, and which of them an action is about."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, NamedTuple
from uuid import UUID

from uuid_utils.compat import uuid7

from scripts.errors import UsageProblem
from scripts.servers import Connection, required, rows
from scripts.services import parsers
from scripts.services.noun import Noun, NounField, Row, Table
from scripts.sql import statements

_SQL: Final = statements("services/administer/access/workspaces")
_DEFAULT_NAME: Final = "default"


class Workspace(NamedTuple):
    """Whose links, programs and keys these are."""

    id: UUID
    name: str


WORKSPACES: Final = Noun(
    "workspaces",
    "Workspaces own programs, partners, links, domains and API keys.",
    """
    While there is only one workspace, no command asks for it. Without any, the
    first `add` of something makes one called default.
    """,
    name=NounField(parse=parsers.code),
)


@WORKSPACES.action("", Table("name programs partners links keys id created_at"))
async def list_(connection: Connection) -> list[Row]:
    """List the workspaces with what they hold."""
    return await rows(connection, _SQL["list"])


@WORKSPACES.action("NAME", "Workspace {name} made.")
async def add(connection: Connection, name: str) -> Row:
    """Make a workspace called NAME."""
    known = UsageProblem(
        f"There is a workspace {name!r} already.", "see `reftide workspaces list`."
    )
    return await required(connection, known, _SQL["add"], uuid7(), name)


async def choose(connection: Connection, name: str | None) -> Workspace:
    """The named workspace; without a name the only one, made where there is none.

    Raises UsageProblem for an unknown name, and where there are several to choose from.
    """
    if name is not None:
        return await named(connection, name)
    few = await connection.fetch(_SQL["few"])
    if not few:
        return await ensure(connection, _DEFAULT_NAME)
    if len(few) > 1:
        names = ", ".join(row["name"] for row in few)
        raise UsageProblem(
            f"There are several workspaces ({names}).", "say which with --workspace."
        )
    return Workspace(few[0]["id"], few[0]["name"])


async def named(connection: Connection, name: str) -> Workspace:
    """Raises UsageProblem for an unknown name."""
    unknown = UsageProblem(
        f"There is no workspace {name!r}.",
        f"see `reftide workspaces list`, or make it: `reftide workspaces add {name}`.",
    )
    return Workspace(**await required(connection, unknown, _SQL["named"], name))


async def filter_by(connection: Connection, name: str | None) -> UUID | None:
    """The id to list by: None is everybody's. Raises UsageProblem for an unknown name."""
    return None if name is None else (await named(connection, name)).id


async def visible(
    connection: Connection, ids: Iterable[UUID] | None
) -> dict[str, UUID]:
    """Workspaces by name: those of these ids, or all."""
    asked = None if ids is None else list(ids)
    return {
        row["name"]: row["id"] for row in await rows(connection, _SQL["visible"], asked)
    }


async def ensure(connection: Connection, name: str) -> Workspace:
    """The workspace of that name, made where it is missing."""
    await connection.fetchrow(_SQL["add"], uuid7(), name)
    return await named(connection, name)


def listing(
    noun: Noun, usage: str, shows: Table, statement: str, about: str = ""
) -> Callable[..., Awaitable[list[Row]]]:
    """Declare the action `list` of a noun: the rows of a statement.

    Its parameters are the workspace's id, None for all, and the other fields of `usage`.
    """

    async def list_(connection: Connection, **given: Any) -> list[Row]:
        owner = await filter_by(connection, given["workspace"])
        fields = declared.fields.items()
        others = [
            given.get(name, each.default)
            for name, each in fields
            if name != "workspace"
        ]
        return await rows(connection, statement, owner, *others)

    list_.__doc__ = about or f"List the {noun.name}."
    noun.action(usage, shows)(list_)
    declared = noun.actions[-1]
    return list_
