"""Finds a link by what operators call it, or refuses with a way out."""

from typing import Final
from uuid import UUID

from ingest.contracts.directory import DEFAULT_NAMESPACE, domain_namespace
from scripts.errors import AlreadyExists, UsageProblem
from scripts.servers import Connection, required, single
from scripts.services.noun import Row
from scripts.sql import statements

_SQL: Final = statements("services/administer/catalogue/links")


async def the_link(connection: Connection, code: str, domain: str | None) -> Row:
    """By code, former code or public id. Raises UsageProblem for an unknown one."""
    where = f" on {domain}" if domain else ""
    hint = "" if domain else " or, where it belongs to a domain, name it: --domain;"
    unknown = UsageProblem(
        f"There is no link {code!r}{where}.",
        f"see `reftide links list`;{hint} or make it: `reftide links add {code}`.",
    )
    return await required(
        connection, unknown, _SQL["named"], namespace_of(domain), code
    )


async def any_link(connection: Connection, code: str | UUID, domain: str | None) -> Row:
    """As `the_link`; what nothing else is called may be a workspace's own code.

    A UUID is the id of a row: who has found a link acts on that one. By its public id it would
    be found again, or another one with such a code. Raises UsageProblem also where several
    workspaces have that code.
    """
    if isinstance(code, UUID):
        return await single(connection, _SQL["row"], code)
    if domain is None:
        found = await connection.fetchrow(_SQL["named"], DEFAULT_NAMESPACE, code)
        if found is not None:
            return dict(found)
        own = await connection.fetch(_SQL["own"], code)
        if len(own) > 1:
            raise UsageProblem(
                f"Several workspaces have a link {code!r} of their own.",
                "name its public id: see `reftide links list`.",
            )
        code = own[0]["public_id"] if own else code
    return await the_link(connection, code, domain)


async def code_is_free(connection: Connection, namespace: str, code: str) -> None:
    """Raises UsageProblem for a code that leads to a link, or did."""
    holder = await connection.fetchval(_SQL["holder"], namespace, code)
    if holder is not None:
        raise AlreadyExists(
            f"The code {code!r} leads to link {holder} already.",
            f"see `reftide links show {holder}`, or choose another code.",
        )


def namespace_of(domain: str | None) -> str:
    return domain_namespace(domain) if domain else DEFAULT_NAMESPACE
