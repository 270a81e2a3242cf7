"""Queues for the publisher what a batch changed in the edges' directory.

Tables that operators change have triggers for this. What follows from events is queued here,
in bulk: a second lead of a known customer changes no row of `customers`.
"""

from collections.abc import Collection, Sequence
from typing import Final
from uuid import UUID

from ingest.contracts.envelope import CLICK
from workers.model.rows import Row
from workers.postgres.database import Connection
from workers.postgres.sql import statements
from workers.write.customers import LockSet

_SQL: Final = statements("write/publish_queue")


async def note(
    connection: Connection,
    rows: Sequence[Row],
    about: LockSet,
    links: Collection[UUID],
) -> None:
    """Queue the customers that rows concern, and the stats of the links that they count for.

    Clicks of new visitors without a session cost no query.
    """
    if about.ids:
        clicks = [row.id for row in rows if row.event.kind is CLICK]
        await connection.execute(
            _SQL["customers_changed"], sorted(about.ids), about.since, clicks
        )
    # The published stats of a partner are made of events with sessions only.
    if links and any(row.envelope.click.session is not None for row in rows):
        await connection.execute(_SQL["stats_changed"], sorted(links))
