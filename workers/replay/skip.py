"""Leaves out of a page what is recorded already, without decoding it.

An event that was recorded from the very entry that is read changes nothing in a replay of what
is missing, nor in any replay that does not ask for it. Its id stands at the beginning of the
payload, so that a thousand of them are one look-up.
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

from ingest.contracts.encoding.envelopes import outline
from workers.model.batch import Delivery, Entry
from workers.model.rows import DatabaseRecord, entry_of
from workers.postgres.database import Pool, array_literal, autocommit, columns
from workers.postgres.sql import statements
from workers.replay.leases import Part
from workers.replay.request import ReplayRequest
from workers.replay.scope import Place

_SQL: Final = statements("replay/replays")

# The beginning of an encoded envelope, of any version.
_MS_DIGITS: Final = 12
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
    if part.mode == "missing" and not part.scope.is_confined:
        return await _without_unchanged(pool, request, deliveries)
    named = {each.entry: _event_id(each.payload) for each in deliveries}
    recorded = await _recorded(pool, [*filter(None, named.values())])
    left: list[Delivery] = []
    for each in deliveries:
        row = recorded.get(each.entry)
        is_recorded = row is not None and row["id"] == named[each.entry]
        if row is None or not is_recorded or _is_asked(part, row, each.payload):
            left.append(each)
    return Rest(left)


async def _without_unchanged(
    pool: Pool, request: ReplayRequest, deliveries: Sequence[Delivery]
) -> Rest:
    """Leave out and count what is recorded, where all of these are asked for."""
    found = [_ID.match(each.payload) for each in deliveries]
    named = [at for at, each in enumerate(found) if each]
    texts = [each[1].decode() for each in found if each]
    missing, horizon_ms = await _missing(
        pool, texts, [deliveries[at].entry for at in named]
    )
    recorded = {
        at: int(text[:_MS_DIGITS], 16)
        for place, (at, text) in enumerate(zip(named, texts, strict=True))
        if place not in missing
    }
    left: list[Delivery] = []
    unchanged = 0
    for at, each in enumerate(deliveries):
        ms = recorded.get(at)
        # Of a month that is closed, an event is refused, recorded or not.
        if ms is None or (ms < horizon_ms and request.from_ms <= ms < request.to_ms):
            left.append(each)
        else:
            unchanged += request.from_ms <= ms < request.to_ms
    return Rest(left, unchanged)


async def _missing(
    pool: Pool, events: Sequence[str], entries: Sequence[Entry]
) -> tuple[set[int], int]:
    """Which events were not recorded from these entries, and up to when months are closed.

    Events are hex digits; those that are missing are told by their place.
    """
    if not events:
        return set(), 0
    places = [array_literal(column) for column in columns(entries)]
    async with autocommit(pool) as connection:
        horizon = await connection.fetchval(_SQL["horizon"])
        rows = await connection.fetch(
            _SQL["missing_entries"], "{" + ",".join(events) + "}", *places
        )
    return {row[0] - 1 for row in rows}, horizon or 0


def _event_id(payload: bytes) -> UUID | None:
    found = _ID.match(payload)
    return UUID(bytes=bytes.fromhex(found[1].decode())) if found else None


async def _recorded(pool: Pool, events: Sequence[UUID]) -> dict[Entry, DatabaseRecord]:
    """The rows of these events by their entry."""
    if not events:
        return {}
    async with autocommit(pool) as connection:
        found = await connection.fetch(
            _SQL["recorded_entries"], events, min(events), max(events)
        )
    return {entry_of(row): row for row in found}


def _is_asked(part: Part, row: DatabaseRecord, payload: bytes) -> bool:
    """Whether the request may include a recorded event; what is left is decoded."""
    said = outline(payload)
    return said is None or part.scope.has(said, Place.of_row(row))
