"""Making and changing links, inside the caller's transaction. Used by `reftide links`.

A code leads to one link: no link gets a code that another one has or had.
"""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from uuid import UUID

from uuid_utils.compat import uuid7

from ingest.contracts.directory import workspace_namespace
from scripts.output import UsageProblem
from scripts.servers import Connection, single
from scripts.services.administer.lookups import namespace_of, the_partner, the_program
from scripts.services.administer.names import public_id
from scripts.services.administer.workspaces import Workspace, choose, named
from scripts.sql import statements

_SQL: Final = statements("services/administer/links")
_DOMAINS: Final = statements("services/administer/domains")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
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


class _Sides(NamedTuple):
    """The program and the partner of a link, where it has them."""

    program: dict[str, Any] | None
    partner: dict[str, Any] | None

    @property
    def program_id(self) -> UUID | None:
        return self.program["id"] if self.program else None

    @property
    def partner_id(self) -> UUID | None:
        return self.partner["id"] if self.partner else None


async def add_link(connection: Connection, wanted: Wanted) -> dict[str, Any]:
    """Make it and enrol its partner. Raises UsageProblem where something is not as it must be."""
    owner = await _owner(connection, wanted)
    await _domain_is_known(connection, wanted.domain, owner)
    sides = await _sides(connection, wanted.program, wanted.partner, owner)
    url = wanted.url or (sides.program or {}).get("url", "")
    await connection.execute(_SQL["one_writer"])
    namespace = (
        workspace_namespace(owner.id) if wanted.is_own else namespace_of(wanted.domain)
    )
    await _code_is_free(connection, namespace, wanted.code)
    made = await connection.fetchval(
        _SQL["add"],
        uuid7(),
        owner.id,
        wanted.public_id or public_id("lnk_"),
        namespace,
        wanted.code,
        wanted.domain or "",
        url,
        sides.program_id,
        sides.partner_id,
        not wanted.inactive,
    )
    if made is None:
        raise UsageProblem(
            f"Another link has the public id {wanted.public_id!r}.",
            "choose another one.",
        )
    await _enrol(connection, sides.program_id, sides.partner_id)
    return await single(connection, _SQL["named"], namespace, wanted.code)


async def set_link(
    connection: Connection,
    link: dict[str, Any],
    *,
    new_code: str | None = None,
    url: str | None = None,
    program: int | None = None,
    partner: str | None = None,
) -> None:
    """Change what is given. Raises UsageProblem as `add_link` does.

    For a new code, `one_writer` comes before the link is looked up.
    """
    owner = Workspace(link["workspace_id"], link["workspace"])
    sides = await _sides(connection, program, partner, owner)
    now = await connection.fetchrow(
        _SQL["set"], link["id"], url, sides.program_id, sides.partner_id
    )
    if now is not None:
        await _enrol(connection, now["program_id"], now["partner_id"])
    if new_code is not None and new_code != link["code"]:
        await _rename(connection, link, new_code)


async def _rename(connection: Connection, link: dict[str, Any], code: str) -> None:
    namespace = link["namespace"]
    await connection.execute(_SQL["unalias"], namespace, code, link["id"])
    await _code_is_free(connection, namespace, code)
    await connection.execute(_SQL["rename"], link["id"], code)
    await connection.execute(_SQL["alias"], namespace, link["code"], link["id"])


async def _owner(connection: Connection, wanted: Wanted) -> Workspace:
    if wanted.workspace is None and wanted.program is not None:
        program = await the_program(connection, wanted.program)
        return await named(connection, program["workspace"])
    return await choose(connection, wanted.workspace)


async def _sides(
    connection: Connection, number: int | None, code: str | None, owner: Workspace
) -> _Sides:
    program = None if number is None else await the_program(connection, number)
    if program is not None and program["workspace_id"] != owner.id:
        raise UsageProblem(
            f"Program {number} belongs to workspace {program['workspace']},"
            f" the link to {owner.name}.",
            f"see `reftide programs list --workspace {owner.name}`.",
        )
    partner = None if code is None else await the_partner(connection, code, owner.id)
    return _Sides(program, partner)


async def _domain_is_known(
    connection: Connection, domain: str | None, owner: Workspace
) -> None:
    if domain is None:
        return
    row = await connection.fetchrow(_DOMAINS["named"], domain)
    if row is None:
        raise UsageProblem(
            f"{domain} is not known.", f"run `reftide domains add {domain}`."
        )
    if row["workspace_id"] != owner.id:
        raise UsageProblem(
            f"{domain} belongs to workspace {row['workspace']}.",
            f"see `reftide domains list --workspace {owner.name}`.",
        )


async def _code_is_free(connection: Connection, namespace: str, code: str) -> None:
    holder = await connection.fetchval(_SQL["holder"], namespace, code)
    if holder is not None:
        raise UsageProblem(
            f"The code {code!r} leads to link {holder} already.",
            f"see `reftide links show {holder}`, or choose another code.",
        )


async def _enrol(
    connection: Connection, program: UUID | None, partner: UUID | None
) -> None:
    if program is not None and partner is not None:
        await connection.execute(_SQL["enrol"], program, partner)
