"""Directory records of customers, partners' stats, switches and limits, from PostgreSQL.

As in `link_records`, a value of None means that the key has to be deleted.
"""

from collections.abc import Sequence
from typing import Final

from ingest.contracts.directory import (
    LIMITS_KEY,
    SWITCHES_KEY,
    CustomerRecord,
    LimitsRecord,
    StatsRecord,
    SwitchesRecord,
    customer_key,
    stats_key,
)
from workers.postgres.database import Connection
from workers.postgres.sql import statements
from workers.publish.link_records import Records, ScopedName, columns, plain_uuid

_SQL: Final = statements("publish/publisher")


async def of_customers(
    connection: Connection, customers: Sequence[ScopedName]
) -> Records:
    """Customers by workspace and external id."""
    rows = await connection.fetch(_SQL["customers_find"], *columns(customers))
    found: dict[str, bytes | None] = {customer_key(*one): None for one in customers}
    for row in rows:
        found[customer_key(row["workspace_id"], row["external_id"])] = CustomerRecord(
            external_id=row["external_id"],
            customer_uuid=plain_uuid(row["id"]),
            status=row["status"],
            name=row["name"],
            email=row["email"],
            avatar=row["avatar"],
            click_uuid=row["click_id"] and plain_uuid(row["click_id"]),
            link_uuid=row["link_id"] and plain_uuid(row["link_id"]),
        ).encode()
    return found


async def of_stats(connection: Connection, partners: Sequence[ScopedName]) -> Records:
    """Partners' stats by workspace and partner code, for programs that have stats."""
    rows = await connection.fetch(_SQL["stats_find"], *columns(partners))
    found: dict[str, bytes | None] = {stats_key(*one): None for one in partners}
    for row in rows:
        found[stats_key(row["workspace_id"], row["partner_code"])] = StatsRecord(
            partner_code=row["partner_code"],
            conversions=row["conversions"],
            pending=row["pending"],
            code=row["code"],
        ).encode()
    return found


async def of_switches(connection: Connection) -> Records:
    """All switches that are off, in one record."""
    off = {(row[0], row[1]) for row in await connection.fetch(_SQL["switches_find"])}
    return {SWITCHES_KEY: SwitchesRecord(off=off).encode() if off else None}


async def of_limits(connection: Connection) -> Records:
    """All limits that operators set, in one record."""
    limits = {row[0]: row[1] for row in await connection.fetch(_SQL["limits_find"])}
    return {LIMITS_KEY: LimitsRecord(per_minute=limits).encode() if limits else None}
