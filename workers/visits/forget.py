"""Takes erased clicks out of the windows of their visitors; all flags stay as they are."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from workers.postgres.database import ConcurrentInsert, Connection
from workers.postgres.sql import statements
from workers.visits.cascade import recorded_clicks
from workers.visits.windows import keys_concerned, pack, unpack, visitor_of

_SQL: Final = statements("visits/visits")


async def forget(connection: Connection, events: Sequence[UUID]) -> None:
    """Forget the clicks among events, before a transaction's other locks.

    A row that holds no window of anybody else's goes. Raises ConcurrentInsert where a click
    moved meanwhile.
    """
    clicks = await recorded_clicks(connection, events)
    if not clicks:
        return
    found = await connection.fetch(
        _SQL["visits_lock_known"], list(keys_concerned(clicks))
    )
    if clicks != await recorded_clicks(connection, events):
        raise ConcurrentInsert("clicks moved while they were being forgotten")
    left: dict[bytes, bytes] = {}
    for record in found:
        visitor = visitor_of(record["key"])
        gone = clicks[visitor]
        kept = [each for each in unpack(record["windows"]) if each not in gone]
        left[record["key"]] = b"".join(pack(visitor, kept).values())
    kept_keys = [key for key, windows in left.items() if windows]
    await connection.execute(
        _SQL["visits_put"], kept_keys, [left[key] for key in kept_keys]
    )
    await connection.execute(_SQL["visits_drop"], list(left.keys() - set(kept_keys)))
