"""Directory records of links, domains, programs, keys and clicks, from PostgreSQL.

Each function returns keys and values; None means that the key has to be deleted.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from uuid import UUID

import asyncpg

from ingest.contracts.directory import (
    DEFAULT_WINDOW_DAYS,
    ClickRecord,
    KeyRecord,
    LinkRecord,
    ProgramRecord,
    api_key_key,
    click_key,
    domain_key,
    link_id_key,
    link_key,
    partner_link_key,
    program_id_key,
    program_key,
)
from workers.postgres.database import Connection
from workers.postgres.sql import statements

_SQL: Final = statements("publish/publisher")

Records = Mapping[str, bytes | None]
Code = tuple[str, str]
#: A name within a workspace or program: a token, an external id, a partner's code.
ScopedName = tuple[UUID, str]


async def of_links(connection: Connection, ids: Sequence[UUID]) -> Records:
    """Links by id, by present and former codes, and by their partners' codes.

    A partner's code leads to the partner's oldest link in the same program.
    """
    aliases = await connection.fetch(_SQL["aliases_of_links"], ids)
    former = await of_aliases(connection, aliases)
    oldest = await connection.fetch(_SQL["partner_links_of_links"], ids)
    by_partner = await of_oldest(connection, oldest)
    return former | by_partner | await of_own_codes(connection, ids)


async def of_own_codes(
    connection: Connection, ids: Sequence[UUID]
) -> dict[str, bytes | None]:
    """Links by id and by present code."""
    values = await _links(connection, ids)
    found = _absent(map(link_id_key, ids))
    for link_id, (code, value) in values.items():
        found |= {link_id_key(link_id): value, link_key(*code): value}
    return found


async def of_codes(connection: Connection, codes: Sequence[Code]) -> Records:
    """Links by these codes, present or former."""
    found = await connection.fetch(_SQL["codes_find"], *columns(codes))
    return _absent(link_key(*code) for code in codes) | await of_aliases(
        connection, found
    )


async def of_aliases(
    connection: Connection, aliases: Iterable[asyncpg.Record]
) -> dict[str, bytes | None]:
    """Links by the namespaces and codes of rows with a link id."""
    codes = {(row["namespace"], row["code"]): row["link_id"] for row in aliases}
    values = await _links(connection, list(set(codes.values())))
    return {
        link_key(*code): values[link_id][1]
        for code, link_id in codes.items()
        if link_id in values
    }


async def of_partner_links(
    connection: Connection, partners: Sequence[ScopedName]
) -> Records:
    """The oldest links of partners in programs, by program and the partner's code."""
    rows = await connection.fetch(_SQL["partner_links_find"], *columns(partners))
    found = await of_oldest(connection, rows)
    return _absent(partner_link_key(*partner) for partner in partners) | found


async def of_oldest(
    connection: Connection, rows: Iterable[asyncpg.Record]
) -> dict[str, bytes | None]:
    """Links by the programs and partner codes of rows with a link id."""
    keys = {
        partner_link_key(row["program_id"], row["code"]): row["link_id"] for row in rows
    }
    values = await _links(connection, list(set(keys.values())))
    return {
        key: values[link_id][1] for key, link_id in keys.items() if link_id in values
    }


async def of_domains(connection: Connection, domains: Sequence[str]) -> Records:
    rows = await connection.fetch(_SQL["domains_find"], domains)
    return _absent(map(domain_key, domains)) | {
        domain_key(row["domain"]): row["workspace_id"].hex.encode() for row in rows
    }


async def of_programs(connection: Connection, ids: Sequence[UUID]) -> Records:
    """Programs by number and by id, without their links."""
    found: dict[str, bytes | None] = {}
    for row in await connection.fetch(_SQL["programs_find"], ids):
        value = ProgramRecord(
            program_uuid=plain_uuid(row["id"]),
            workspace_uuid=plain_uuid(row["workspace_id"]),
            number=row["number"],
            url=row["url"],
            cookie_window_days=row["cookie_window_days"],
            attribution_window_days=row["attribution_window_days"],
            needs_server_lead=row["needs_server_lead"],
        ).encode()
        found |= {program_key(row["number"]): value, program_id_key(row["id"]): value}
    return found


async def of_keys(connection: Connection, hashes: Sequence[bytes]) -> Records:
    rows = await connection.fetch(_SQL["keys_find"], hashes)
    return _absent(map(api_key_key, hashes)) | {
        api_key_key(row["key_hash"]): KeyRecord(
            key_uuid=plain_uuid(row["id"]),
            workspace_uuid=plain_uuid(row["workspace_id"]),
            scopes=row["scopes"],
        ).encode()
        for row in rows
    }


async def of_clicks(connection: Connection, clicks: Sequence[ScopedName]) -> Records:
    rows = await connection.fetch(_SQL["clicks_find"], *columns(clicks))
    return _absent(click_key(*click) for click in clicks) | {
        click_key(row["workspace_id"], row["token"]): ClickRecord(
            click_uuid=plain_uuid(row["click_id"]), link_uuid=plain_uuid(row["link_id"])
        ).encode()
        for row in rows
    }


def _absent(keys: Iterable[str]) -> dict[str, bytes | None]:
    return dict.fromkeys(keys)


def columns(pairs: Iterable[Sequence[object]]) -> Iterable[Sequence[object]]:
    return zip(*pairs, strict=True)


def plain_uuid(value: UUID) -> UUID:
    # asyncpg's UUIDs are a subclass, which orjson refuses.
    return UUID(int=value.int)


async def _links(
    connection: Connection, ids: Sequence[UUID]
) -> dict[UUID, tuple[Code, bytes]]:
    """The code and the record of every link that exists."""
    return {
        row["id"]: ((row["namespace"], row["code"]), _link_record(row).encode())
        for row in await connection.fetch(_SQL["links_by_id"], ids)
    }


def _link_record(row: asyncpg.Record) -> LinkRecord:
    return LinkRecord(
        link_uuid=plain_uuid(row["id"]),
        workspace_uuid=plain_uuid(row["workspace_id"]),
        public_id=row["public_id"],
        namespace=row["namespace"],
        code=row["code"],
        domain=row["domain"],
        url=row["url"],
        is_active=row["is_active"],
        program_uuid=row["program_id"] and plain_uuid(row["program_id"]),
        program_number=row["program_number"],
        partner_uuid=row["partner_id"] and plain_uuid(row["partner_id"]),
        partner_code=row["partner_code"],
        partner_public_id=row["partner_public_id"],
        partner_name=row["partner_name"],
        cookie_window_days=row["cookie_window_days"] or DEFAULT_WINDOW_DAYS,
        attribution_window_days=row["attribution_window_days"] or DEFAULT_WINDOW_DAYS,
        needs_server_lead=bool(row["needs_server_lead"]),
        created_at=row["created_ms"],
    )
