"""What edges are to see of some rows: reads Postgres, gives keys and values of the directory.

Used by `publish`. A value of None means that nothing may be under that key.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from uuid import UUID

import asyncpg

from ingest.contracts.directory import (
    ClickRecord,
    KeyRecord,
    LinkRecord,
    ProgramRecord,
    api_key_key,
    click_key,
    domain_key,
    link_id_key,
    link_key,
    program_key,
)
from workers.database import Connection
from workers.sql import statements

_SQL: Final = statements("publish")

#: The windows of a link without a program, in days.
_WINDOW_DAYS: Final = 60

Records = Mapping[str, bytes | None]
Code = tuple[str, str]


async def of_links(connection: Connection, ids: Sequence[UUID]) -> Records:
    """Links under their ids, their codes and their former codes."""
    aliases = await connection.fetch(_SQL["aliases_of_links"], ids)
    former = await of_aliases(connection, aliases)
    return former | await of_own_codes(connection, ids)


async def of_own_codes(
    connection: Connection, ids: Sequence[UUID]
) -> dict[str, bytes | None]:
    """Links under their ids and their present codes."""
    values = await _links(connection, ids)
    found = _nothing(map(link_id_key, ids))
    for link_id, (code, value) in values.items():
        found |= {link_id_key(link_id): value, link_key(*code): value}
    return found


async def of_codes(connection: Connection, codes: Sequence[Code]) -> Records:
    """Links under some of their codes, former ones included."""
    namespaces, names = zip(*codes, strict=True)
    found = await connection.fetch(_SQL["codes_find"], namespaces, names)
    return _nothing(link_key(*code) for code in codes) | await of_aliases(
        connection, found
    )


async def of_aliases(
    connection: Connection, aliases: Iterable[asyncpg.Record]
) -> dict[str, bytes | None]:
    """Links under the namespaces and codes of rows that also name the link."""
    codes = {(row["namespace"], row["code"]): row["link_id"] for row in aliases}
    values = await _links(connection, list(set(codes.values())))
    return {
        link_key(*code): values[link_id][1]
        for code, link_id in codes.items()
        if link_id in values
    }


async def of_domains(connection: Connection, domains: Sequence[str]) -> Records:
    rows = await connection.fetch(_SQL["domains_find"], domains)
    return _nothing(map(domain_key, domains)) | {
        domain_key(row["domain"]): row["workspace_id"].hex.encode() for row in rows
    }


async def of_programs(connection: Connection, ids: Sequence[UUID]) -> Records:
    """Programs under their numbers; their links are another matter."""
    return {
        program_key(row["number"]): ProgramRecord(
            program_uuid=_uuid(row["id"]),
            workspace_uuid=_uuid(row["workspace_id"]),
            number=row["number"],
            cookie_window_days=row["cookie_window_days"],
        ).encode()
        for row in await connection.fetch(_SQL["programs_find"], ids)
    }


async def of_keys(connection: Connection, hashes: Sequence[bytes]) -> Records:
    rows = await connection.fetch(_SQL["keys_find"], hashes)
    return _nothing(map(api_key_key, hashes)) | {
        api_key_key(row["key_hash"]): KeyRecord(
            key_uuid=_uuid(row["id"]),
            workspace_uuid=_uuid(row["workspace_id"]),
            scopes=row["scopes"],
        ).encode()
        for row in rows
    }


async def of_clicks(
    connection: Connection, clicks: Sequence[tuple[UUID, str]]
) -> Records:
    workspaces, tokens = zip(*clicks, strict=True)
    rows = await connection.fetch(_SQL["clicks_find"], workspaces, tokens)
    return _nothing(click_key(*click) for click in clicks) | {
        click_key(row["workspace_id"], row["token"]): ClickRecord(
            click_uuid=_uuid(row["click_id"]), link_uuid=_uuid(row["link_id"])
        ).encode()
        for row in rows
    }


def _nothing(keys: Iterable[str]) -> dict[str, bytes | None]:
    return dict.fromkeys(keys)


def _uuid(value: UUID) -> UUID:
    # asyncpg's is a subclass, which orjson refuses.
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
        link_uuid=_uuid(row["id"]),
        workspace_uuid=_uuid(row["workspace_id"]),
        public_id=row["public_id"],
        namespace=row["namespace"],
        code=row["code"],
        domain=row["domain"],
        url=row["url"],
        is_active=row["is_active"],
        program_uuid=row["program_id"] and _uuid(row["program_id"]),
        program_number=row["program_number"],
        partner_uuid=row["partner_id"] and _uuid(row["partner_id"]),
        partner_code=row["partner_code"],
        cookie_window_days=row["cookie_window_days"] or _WINDOW_DAYS,
        attribution_window_days=row["attribution_window_days"] or _WINDOW_DAYS,
    )
