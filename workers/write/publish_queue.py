"""What a batch changed that edges are to see. Imported by `write`, at its end.

Rows of `links`, `programs` and the like have triggers for this. What follows from events is
noted here instead, in bulk: a second lead of a known customer changes no row of `customers`.
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
    """Let the publisher know whom rows concerned and what the counted links brought.

    Asks nothing of Postgres for clicks of new visitors that name no session.
    """
    if about.ids:
        clicks = [row.id for row in rows if row.event.kind is CLICK]
        await connection.execute(
            _SQL["customers_changed"], sorted(about.ids), about.since, clicks
        )
    # Nothing but events of sessions makes up what edges are told of a partner.
    if links and any(row.envelope.click.session is not None for row in rows):
        await connection.execute(_SQL["stats_changed"], sorted(links))
