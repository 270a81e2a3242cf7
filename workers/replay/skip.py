"""Leaves out of a page what is recorded already, without decoding it.

An event that was recorded from the very entry that is read changes nothing in a replay of what
is missing, nor in any replay that does not ask for it. Its id stands at the beginning of the
payload, so that a thousand of them are one look-up.
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

from ingest.contracts import ids
from ingest.contracts.encoding.envelopes import outline
from workers.model.batch import Delivery, Entry
from workers.model.rows import DatabaseRecord, entry_of
from workers.postgres.database import Pool, autocommit
from workers.postgres.sql import statements
from workers.replay.leases import Part
from workers.replay.scope import Place

_SQL: Final = statements("replay/replays")

# The beginning of an encoded envelope, of any version.
_ID: Final = re.compile(rb'\{"v":\d+,"i":"([0-9a-f]{32})"')


class Rest(NamedTuple):
    """What is left of a page, and how many requested events are recorded as they are."""

    deliveries: Sequence[Delivery]
    unchanged: int = 0


async def without_recorded(
    pool: Pool, part: Part, deliveries: Sequence[Delivery]
) -> Rest:
    """Leave out what is recorded and needs no comparison. Raises TransientError."""
    request = part.request
    if part.mode == "reprocess" and not request.is_filtered:
        return Rest(deliveries)
    deliveries = [each for each in deliveries if request.may_match(each.payload)]
    named = {each.entry: _event_id(each.payload) for each in deliveries}
    recorded, horizon_ms = await _recorded(pool, [*filter(None, named.values())])
    left: list[Delivery] = []
    unchanged = 0
    for each in deliveries:
        row = recorded.get(each.entry)
        # Of a month that is closed, an event is refused, recorded or not.
        if row is None or row["id"] != named[each.entry]:
            left.append(each)
        elif request.is_filtered:
            if _is_asked(part, row, each.payload):
                left.append(each)
        elif request.from_ms <= (at := ids.millis(row["id"])) < request.to_ms:
            if at < horizon_ms:
                left.append(each)
            else:
                unchanged += 1
    return Rest(left, unchanged)


def _event_id(payload: bytes) -> UUID | None:
    found = _ID.match(payload)
    return UUID(bytes=bytes.fromhex(found[1].decode())) if found else None


async def _recorded(
    pool: Pool, events: Sequence[UUID]
) -> tuple[dict[Entry, DatabaseRecord], int]:
    """The rows of these events by their entry, and up to when months are closed."""
    if not events:
        return {}, 0
    async with autocommit(pool) as connection:
        horizon = await connection.fetchval(_SQL["horizon"])
        found = await connection.fetch(
            _SQL["recorded_entries"], events, min(events), max(events)
        )
    return {entry_of(row): row for row in found}, horizon or 0


def _is_asked(part: Part, row: DatabaseRecord, payload: bytes) -> bool:
    """Whether the request may include a recorded event; what is left is decoded."""
    said = outline(payload)
    return said is None or part.scope.has(said, Place.of_row(row))
