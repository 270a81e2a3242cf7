"""Programs, partners and links by what operators call them, or a refusal that helps.

Used by the commands that administer.
"""

from typing import Any, Final
from uuid import UUID

from ingest.contracts.directory import DEFAULT_NAMESPACE, domain_namespace
from scripts.output import UsageProblem
from scripts.servers import Connection
from scripts.sql import statements

_PROGRAMS: Final = statements("services/administer/programs")
_PARTNERS: Final = statements("services/administer/partners")
_LINKS: Final = statements("services/administer/links")


async def the_program(connection: Connection, number: int) -> dict[str, Any]:
    """Raises UsageProblem for an unknown number."""
    row = await connection.fetchrow(_PROGRAMS["numbered"], number)
    if row is None:
        raise UsageProblem(
            f"There is no program {number}.",
            "see `reftide programs list`, or make it: `reftide programs add NAME`.",
        )
    return dict(row)


async def the_partner(
    connection: Connection, code: str, workspace: UUID | None
) -> dict[str, Any]:
    """By code or public id. Raises UsageProblem for an unknown one, or where two have it."""
    found = await connection.fetch(_PARTNERS["called"], code, workspace)
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


async def the_link(
    connection: Connection, code: str, domain: str | None
) -> dict[str, Any]:
    """By code, former code or public id. Raises UsageProblem for an unknown one."""
    row = await _link_in(connection, namespace_of(domain), code)
    if row is None:
        where = f" on {domain}" if domain else ""
        hint = "" if domain else " or, where it belongs to a domain, name it: --domain;"
        raise UsageProblem(
            f"There is no link {code!r}{where}.",
            f"see `reftide links list`;{hint} or make it: `reftide links add {code}`.",
        )
    return row


async def any_link(
    connection: Connection, code: str, domain: str | None
) -> dict[str, Any]:
    """As `the_link`; what nothing else is called may be a workspace's own code.

    Raises UsageProblem also where several workspaces have that code.
    """
    if domain is None and await _link_in(connection, DEFAULT_NAMESPACE, code) is None:
        own = await connection.fetch(_LINKS["own"], code)
        if len(own) > 1:
            raise UsageProblem(
                f"Several workspaces have a link {code!r} of their own.",
                "name its public id: see `reftide links list`.",
            )
        code = own[0]["public_id"] if own else code
    return await the_link(connection, code, domain)


async def _link_in(
    connection: Connection, namespace: str, code: str
) -> dict[str, Any] | None:
    """By code or former code in a namespace, else by public id, if there is one."""
    row = await connection.fetchrow(_LINKS["named"], namespace, code)
    return None if row is None else dict(row)


def namespace_of(domain: str | None) -> str:
    return domain_namespace(domain) if domain else DEFAULT_NAMESPACE
