"""Aliases: more codes of a link. A former code is one, and so is a misprint that counts."""

from typing import Final
from uuid import UUID

from ingest.contracts.directory import (
    DEFAULT_NAMESPACE,
    domain_namespace,
    workspace_namespace,
)
from scripts.errors import UsageProblem
from scripts.servers import Connection, required, rows
from scripts.services import parsers
from scripts.services.administer.access.domains import require_owner
from scripts.services.administer.access.workspaces import Workspace, listing
from scripts.services.administer.catalogue.link_lookup import any_link, code_is_free
from scripts.services.noun import Noun, NounField, Row, Table
from scripts.sql import statements

_SQL: Final = statements("services/administer/catalogue/links")

ALIASES: Final = Noun(
    "alias",
    "An alias is one more code of a link: a former code, or a misprint that counts.",
    """
    reftide links alias add SUMER --link SUMMER
    reftide links alias add alice --link lnk_5Nq0kPpTz3aB --domain go.example.com
    reftide links alias remove SUMER
    """,
    domain=NounField("The domain of the alias; the link's by default.", parsers.domain),
    link=NounField("The link's code or public id.", metavar="CODE"),
    namespace=NounField(
        "Where an alias without a domain is unique; as the link's code by default.",
        choices=("installation", "workspace"),
    ),
    new_code=NounField("", parsers.link_code, "CODE"),
)


@ALIASES.action(
    "NEW_CODE --link! --domain --namespace",
    "Code {alias} leads to link {code} ({public_id}).\n"
    "Clicks on it count within a second. Those that wait in quarantine are recorded now;"
    " `reftide replay` brings those that it had no room for.",
)
async def add(
    connection: Connection,
    new_code: str,
    link: str | UUID,
    domain: str | None,
    namespace: str | None,
) -> Row:
    """Let CODE lead to a link too, and record the clicks that wait for it."""
    found = await any_link(connection, link, None)
    where = await _namespace(connection, found, domain, namespace)
    await connection.execute(_SQL["one_writer"])
    await code_is_free(connection, where, new_code)
    await connection.execute(_SQL["alias"], where, new_code, found["id"])
    return found | {"alias": new_code, "namespace": where}


listing(
    ALIASES,
    "--link --workspace --limit",
    Table("alias domain code public_id workspace created_at", empty="No aliases."),
    _SQL["aliases"],
    "List aliases, newest first.",
)


@ALIASES.action("CODE --link --domain", "Code {alias} leads nowhere any more.")
async def remove(
    connection: Connection, code: str, link: str | UUID | None, domain: str | None
) -> Row:
    """Take an alias away: clicks on it are unknown again. What was recorded stays."""
    await connection.execute(_SQL["one_writer"])
    where = domain_namespace(domain) if domain else None
    whose = (None, link) if isinstance(link, UUID) else (link, None)
    found = await rows(connection, _SQL["aliased"], code, where, *whose)
    if len(found) > 1:
        raise UsageProblem(
            f"Several links have the alias {code!r}.",
            "name the link's public id with --link: see `reftide links alias list`.",
        )
    unknown = UsageProblem(
        f"There is no alias {code!r}.", "see `reftide links alias list`."
    )
    alias = found[0] if found else {"namespace": None, "link_id": None}
    place = (alias["namespace"], code, alias["link_id"])
    return await required(connection, unknown, _SQL["unalias"], *place)


async def _namespace(
    connection: Connection, link: Row, domain: str | None, namespace: str | None
) -> str:
    """Where the alias is unique. Raises UsageProblem."""
    if domain is None:
        wanted: dict[str | None, str] = {
            None: link["namespace"],
            "installation": DEFAULT_NAMESPACE,
            "workspace": workspace_namespace(link["workspace_id"]),
        }
        return wanted[namespace]
    if namespace is not None:
        raise UsageProblem(
            "A code is unique on its domain, or in a namespace, not in both.",
            "leave out --namespace, or --domain.",
        )
    owner = Workspace(link["workspace_id"], link["workspace"])
    await require_owner(connection, domain, owner)
    return domain_namespace(domain)
