"""Domains: on each of them a code is a link of its own."""

from collections.abc import Sequence
from typing import Final

from ingest.redirect.destination import may_lead, scheme_of
from scripts.errors import AlreadyExists, UsageProblem
from scripts.servers import Connection, required
from scripts.services import parsers
from scripts.services.administer.access.workspaces import Workspace, choose, listing
from scripts.services.noun import Noun, NounFacts, NounField, Row, Table
from scripts.sql import statements

_SQL: Final = statements("services/administer/access/domains")

DOMAINS: Final = Noun(
    "domains",
    "A code means one link on each domain, and one where no domain is known.",
    """
    reftide domains add go.example.com
    reftide links add alice --domain go.example.com --program 1 --partner alice
    reftide domains set go.example.com --schemes mailto,tel,shopapp
    """,
    after=NounField("Go on behind this one.", parsers.domain, "DOMAIN"),
    domain=NounField(parse=parsers.domain),
    schemes=NounField(
        "Besides http and https, where its links may lead; '' for nowhere else.",
        parsers.schemes,
        "NAME,…",
    ),
    case_sensitive=NounField(
        "Tell codes apart by small and capital letters.", is_switch=True
    ),
)


@DOMAINS.action(
    "DOMAIN --workspace", "Domain {domain} belongs to workspace {workspace}."
)
async def add(connection: Connection, domain: str, workspace: str | None) -> Row:
    """Give DOMAIN codes of its own."""
    owner = await choose(connection, workspace)
    known = AlreadyExists(f"{domain} is known already.", "see `reftide domains list`.")
    await required(connection, known, _SQL["add"], domain, owner.id)
    return await show(connection, domain)


@DOMAINS.action("DOMAIN | --schemes --case-sensitive", "Domain {domain} changed.")
async def set_(
    connection: Connection,
    domain: str,
    schemes: Sequence[str] | None,
    *,
    case_sensitive: bool | None,
) -> Row:
    """Change DOMAIN; what is not given stays.

    Redirects lead to https:, to http:, and to the schemes that you list. Unless case
    counts, a code that nobody has is looked up in small letters too.
    """
    await show(connection, domain)
    await connection.execute(_SQL["set"], domain, schemes, case_sensitive)
    return await show(connection, domain)


listing(
    DOMAINS,
    "--workspace --after",
    Table("domain workspace links schemes is_case_sensitive created_at"),
    _SQL["list"],
)


@DOMAINS.action("DOMAIN", NounFacts("Domain {domain}"))
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


async def require_scheme(connection: Connection, domain: str | None, url: str) -> None:
    """Raises UsageProblem for a URL to which links of the domain may not lead."""
    row = await show(connection, domain) if domain else {"schemes": ()}
    if not may_lead(url, row["schemes"]):
        scheme = scheme_of(url)
        raise UsageProblem(
            f"Links {f'of {domain}' if domain else 'without a domain'} lead to http and"
            f" https, not to {scheme}.",
            f"allow it first: `reftide domains set {domain} --schemes {scheme}`."
            if domain
            else "give the link a domain that allows it: `reftide domains set --help`.",
        )
