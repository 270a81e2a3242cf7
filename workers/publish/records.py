"""Records of the directory, read from PostgreSQL.

A reader gets references, rows of one or two columns, and returns keys and values. The value
None means that the key has to be deleted.

Expiries follow from rows alone, so that a directory that is published again has the same.
"""

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg

from ingest.contracts.directory import (
    DEFAULT_WINDOW_DAYS,
    EMAIL_KEY,
    LIMITS_KEY,
    SWITCHES_KEY,
    ClickRecord,
    CustomerRecord,
    DomainRecord,
    KeyRecord,
    LimitsRecord,
    LinkRecord,
    ProgramRecord,
    SaleRecord,
    StatsRecord,
    SwitchesRecord,
    api_key_key,
    click_key,
    customer_key,
    domain_key,
    link_id_key,
    link_key,
    partner_link_key,
    program_id_key,
    program_key,
    sale_key,
    stats_key,
)
from ingest.contracts.shares import Subject
from workers.postgres.database import Connection, columns
from workers.postgres.email_key import load_email_key
from workers.postgres.sql import statements

_SQL: Final = statements("publish/publisher")

#: As the statement `stats_begin` says.
_STATS_SECONDS: Final = 300.0


class Record(NamedTuple):
    """A value, and when it expires, in Unix milliseconds; None: never."""

    value: bytes
    expires_at: int | None = None
    #: Against whose shares it counts, where no API key vouched for it.
    strangers: tuple[Subject, ...] = ()


Records = Mapping[str, Record | None]
#: References to records, such as ids, or names within a workspace.
Refs = Sequence[Iterable[Any]]
Reader = Callable[[Connection, Refs], Coroutine[Any, Any, Records]]

_Keys = Callable[[asyncpg.Record], Iterable[str]]
_Encoder = Callable[[asyncpg.Record], Record]


async def of_links(connection: Connection, ids: Refs) -> Records:
    """Links by id, by present and former codes, and by their partners' codes."""
    codes = await connection.fetch(_SQL["aliases_of_links"], *columns(ids))
    partners = await connection.fetch(_SQL["partners_of_links"], *columns(ids))
    return {
        **await of_codes(connection, codes),
        **await of_partner_links(connection, partners),
        **await of_own_codes(connection, ids),
    }


async def of_codes(connection: Connection, codes: Refs) -> Records:
    """Links by these codes, present or former."""
    return await _links_named(connection, "codes_find", link_key, codes)


async def of_partner_links(connection: Connection, partners: Refs) -> Records:
    """The oldest links of partners in programs, by program and the partner's code."""
    statement = "partner_links_find"
    return await _links_named(connection, statement, partner_link_key, partners)


async def of_switches(connection: Connection) -> Records:
    """All switches that are off, in one record."""
    off = {(row[0], row[1]) for row in await connection.fetch(_SQL["switches_find"])}
    return {SWITCHES_KEY: Record(SwitchesRecord(off=off).encode()) if off else None}


async def of_email_key(connection: Connection) -> Records:
    """The key of e-mail addresses."""
    return {EMAIL_KEY: Record((await load_email_key(connection)).encode())}


async def of_limits(connection: Connection) -> Records:
    """All limits that operators set, in one record."""
    limits = {row[0]: row[1] for row in await connection.fetch(_SQL["limits_find"])}
    record = Record(LimitsRecord(per_minute=limits).encode()) if limits else None
    return {LIMITS_KEY: record}


async def _links_named(
    connection: Connection, statement: str, key_of: Callable[..., str], names: Refs
) -> Records:
    """Links by other names; the statement gives a name's two columns and the link's id."""
    if not names:
        return {}
    rows = await connection.fetch(_SQL[statement], *columns(names))
    ids = {key_of(*row[:2]): row[2] for row in rows}
    links = await connection.fetch(_SQL["links_find"], list(set(ids.values())))
    found = {row["link_uuid"]: _link(row) for row in links}
    named = {key: found[link_id] for key, link_id in ids.items() if link_id in found}
    return dict.fromkeys(key_of(*name) for name in names) | named


def _encoder(
    kind: type[Any], more: Callable[[asyncpg.Record], Mapping[str, Any]] = lambda _: {}
) -> _Encoder:
    """Makes records of rows: their columns have the names of the record's fields.

    Where there are such columns, `expires_at` says when a record expires, and `is_strangers`
    that no API key vouched for it. `more` gives fields that are no columns.
    """
    fields = kind.__dataclass_fields__

    def encode(row: asyncpg.Record) -> Record:
        known = {
            # asyncpg's UUIDs are a subclass, which orjson refuses.
            name: UUID(int=value.int) if isinstance(value, UUID) else value
            for name, value in row.items()
            if name in fields and value is not None
        }
        strangers: tuple[Subject, ...] = ()
        if row.get("is_strangers"):
            strangers = ("workspace", row["workspace_id"]), ("link", row["link_uuid"])
        value = kind(**{**known, **more(row)}).encode()
        return Record(value, row.get("expires_at"), strangers)

    return encode


def _reader(
    statement: str,
    key_of: Callable[..., str] | None,
    keys: _Keys,
    encode: _Encoder,
    *arguments: object,
) -> Reader:
    """A reader of one statement, whose rows have these keys.

    `key_of` makes the key that is deleted where a reference has no row. The statement gets
    the columns of the references, then `arguments`.
    """

    async def read(connection: Connection, refs: Refs) -> Records:
        found: dict[str, Record | None] = {}
        if key_of is not None:
            found = dict.fromkeys(key_of(*ref) for ref in refs)
        for row in await connection.fetch(_SQL[statement], *columns(refs), *arguments):
            found |= dict.fromkeys(keys(row), encode(row))
        return found

    return read


_link: Final = _encoder(LinkRecord)

of_own_codes: Final = _reader(
    "links_find",
    link_id_key,
    lambda row: (
        link_id_key(row["link_uuid"]),
        link_key(row["namespace"], row["code"]),
    ),
    _link,
)
of_domains: Final = _reader(
    "domains_find",
    domain_key,
    lambda row: [domain_key(row["domain"])],
    _encoder(DomainRecord),
)
#: Programs stay: their records are never deleted.
of_programs: Final = _reader(
    "programs_find",
    None,
    lambda row: (program_key(row["number"]), program_id_key(row["program_uuid"])),
    _encoder(ProgramRecord),
)
of_keys: Final = _reader(
    "keys_find",
    api_key_key,
    lambda row: [api_key_key(row["key_hash"])],
    _encoder(KeyRecord),
)
of_clicks: Final = _reader(
    "clicks_find",
    click_key,
    lambda row: [click_key(row["workspace_id"], row["token"])],
    _encoder(ClickRecord),
)


#: Sales are recorded for good, so their records only expire.
of_sales: Final = _reader(
    "sales_find",
    None,
    lambda row: [sale_key(row["workspace_id"], row["key"])],
    _encoder(SaleRecord),
)


def of_customers(keep_days: int) -> Reader:
    """A reader of customers.

    A record expires `keep_days` after the last day on which an API key named the customer;
    where none did, with the windows of the clicks that may have brought it.
    """

    def key_of(row: asyncpg.Record) -> str:
        return customer_key(row["workspace_id"], row["external_id"])

    async def read(connection: Connection, refs: Refs) -> Records:
        email_key = await load_email_key(connection)

        def masked(row: asyncpg.Record) -> Mapping[str, Any]:
            plain = email_key.open(row["email_sealed"] or b"")
            if plain is None:
                return {}
            return {"masked_email": email_key.mask(plain, key_of(row))}

        found = _reader(
            "customers_find",
            customer_key,
            lambda row: [key_of(row)],
            _encoder(CustomerRecord, masked),
            keep_days,
            DEFAULT_WINDOW_DAYS,
        )
        return await found(connection, refs)

    return read


_stats: Final = _encoder(StatsRecord)


async def of_stats(connection: Connection, partners: Refs) -> Records:
    """Stats of partners, each by a statement of its own, since one may take seconds."""
    await connection.execute(_SQL["stats_begin"])
    found: dict[str, Record | None] = {}
    for workspace_id, code in partners:
        rows = await connection.fetch(
            _SQL["stats_find"], [workspace_id], [code], timeout=_STATS_SECONDS
        )
        record = _stats(rows[0]) if rows else None
        found[stats_key(workspace_id, code)] = record
    await connection.execute(_SQL["stats_end"])
    return found
