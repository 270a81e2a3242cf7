"""Domains: on each of them a code is a link of its own."""

from typing import Final

from scripts.errors import UsageProblem
from scripts.servers import Connection, required
from scripts.services import parsers
from scripts.services.administer.access.workspaces import Workspace, choose, listing
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
    known = UsageProblem(f"{domain} is known already.", "see `reftide domains list`.")
    await required(connection, known, _SQL["add"], domain, owner.id)
    return await show(connection, domain)


listing(
    DOMAINS, "--workspace", Table("domain workspace links created_at"), _SQL["list"]
)


@DOMAINS.action("DOMAIN", Facts("Domain {domain}"))
async def show(connection: Connection, domain: str) -> Row:
    """Show whose DOMAIN is and how many links it has."""
    unknown = UsageProblem(
        f"{domain} is not known.",
        f"see `reftide domains list`, or add it: `reftide domains add {domain}`.",
    )
    return await required(connection, unknown, _SQL["named"], domain)


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
