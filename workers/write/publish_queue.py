"""Queues for the publisher what a batch changed in the edges' directory.

Tables that operators change have triggers for this. What follows from events is queued here,
in bulk: a second lead of a known customer changes no row of `customers`.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Final
from uuid import UUID

from ingest.contracts.directory import DEFAULT_WINDOW_DAYS
from ingest.contracts.envelope import CLICK, Kind
from workers.model.rows import Row
from workers.postgres.database import Connection, columns
from workers.postgres.sql import statements
from workers.refunds import settling as refunds
from workers.write.customers import LockSet

_SQL: Final = statements("write/publish_queue")


async def note(
    connection: Connection,
    rows: Sequence[Row],
    leads: Sequence[Row],
    about: LockSet,
    links: Collection[UUID],
) -> None:
    """Queue the customers and sales that rows concern, and the stats of the links that they count for.

    Plain `leads` concern their customers only. Clicks of new visitors without a session cost no
    query.
    """
    if about.ids:
        clicks = [row.id for row in rows if row.event.kind is CLICK]
        await connection.execute(
            _SQL["customers_changed"], sorted(about.ids), about.since, clicks
        )
    if leads:
        names = {
            f"{row.place.workspace_id} {row.envelope.customer.external_id}"
            for row in leads
        }
        await connection.execute(_SQL["customers_named"], sorted(names))
    sales = [row.id for row in (*rows, *leads) if row.event.kind is Kind.SALE]
    await refunds.publish_sales(connection, sales)
    # The published stats of a partner are made of events with sessions only.
    if links and any(row.envelope.click.session is not None for row in (*rows, *leads)):
        await connection.execute(_SQL["stats_changed"], sorted(links))


async def keep_tokens(connection: Connection, rows: Iterable[Row]) -> None:
    """Store the short ids of clicks, those of repeats too: their clients were answered with them.

    A short id carries no proof of its own, so it is stored with imported click ids, which are
    published into the directory. A repeat's token resolves to the repeat's own id, which is an alias of the recorded click.
    """
    tokens = sorted(
        {
            (
                row.place.workspace_id,
                row.envelope.click.token,
                row.id,
                row.place.link_id,
            )
            for row in rows
            if row.event.kind is CLICK
            and row.envelope.click.token
            and row.place.link_id
            and not row.event.is_test
        }
    )
    if tokens:
        named = columns(tokens)
        await connection.execute(_SQL["tokens_keep"], *named, DEFAULT_WINDOW_DAYS)
