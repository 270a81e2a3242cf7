"""Domains: on each of them a code is a link of its own."""

from typing import Final

from scripts.errors import UsageProblem
from scripts.servers import Connection, rows
from scripts.services import parsers
from scripts.services.administer.access.workspaces import Workspace, choose, filter_by
from scripts.services.noun import Facts, Field, Noun, Row, Table
from scripts.sql import statements

_SQL: Final = statements("services/administer/access/domains")


DOMAINS: Final = Noun(
    "domains",
    "A code means one link on each domain, and one where no domain is known.",
    """
    reftide domains add go.example.com
    reftide links add alice --domain go.example.com --program 1 --partner alice
    """,
    domain=Field(parse=parsers.domain),
)


@DOMAINS.action(
    "DOMAIN --workspace", "Domain {domain} belongs to workspace {workspace}."
)
async def add(connection: Connection, domain: str, workspace: str | None) -> Row:
    """Give DOMAIN codes of its own."""
    owner = await choose(connection, workspace)
    if await connection.fetchval(_SQL["add"], domain, owner.id) is None:
        raise UsageProblem(f"{domain} is known already.", "see `reftide domains list`.")
    return await show(connection, domain)


@DOMAINS.action("--workspace", Table("domain workspace links created_at"))
async def list_(connection: Connection, workspace: str | None) -> list[Row]:
    """List the domains."""
    owner = await filter_by(connection, workspace)
    return await rows(connection, _SQL["list"], owner)


@DOMAINS.action("DOMAIN", Facts("Domain {domain}"))
async def show(connection: Connection, domain: str) -> Row:
    """Show whose DOMAIN is and how many links it has."""
    row = await connection.fetchrow(_SQL["named"], domain)
    if row is None:
        raise UsageProblem(
            f"{domain} is not known.",
            f"see `reftide domains list`, or add it: `reftide domains add {domain}`.",
        )
    return dict(row)


@DOMAINS.action("DOMAIN", "Domain {domain} removed.")
async def disable(connection: Connection, domain: str) -> Row:
    """Remove DOMAIN, which no link may use any more."""
    row = await show(connection, domain)
    if row["links"]:
        count = row["links"]
        uses = "1 link uses" if count == 1 else f"{count:,} links use"
        raise UsageProblem(
            f"{uses} {domain}.",
            f"disable them instead: `reftide links disable CODE --domain {domain}`.",
        )
    await connection.execute(_SQL["remove"], domain)
    return row


async def require_owner(connection: Connection, domain: str, owner: Workspace) -> None:
    """Raises UsageProblem for a domain that is unknown, or another workspace's."""
    row = await show(connection, domain)
    if row["workspace_id"] != owner.id:
        raise UsageProblem(
            f"{domain} belongs to workspace {row['workspace']}.",
            f"see `reftide domains list --workspace {owner.name}`.",
        )
