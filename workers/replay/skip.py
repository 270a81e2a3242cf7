"""Leaves out of a page what is recorded already, without decoding it.

An event that was recorded from the very entry that is read changes nothing in a replay of what
is missing, nor in any replay that does not ask for it. Its id stands at the beginning of the
payload, so that a thousand of them are one look-up.
"""

import re
from collections.abc import Sequence
from itertools import groupby
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
_ID: Final = re.compile(rb'\{"v":\d+,"i":"([0-9a-f]{32})"')
#: Of the milliseconds at the beginning of an id, in hexadecimal.
_MS_DIGITS: Final = 12
_END_MS: Final = 1 << 48
_BEHIND_ALL: Final = "g"

#: The digits of an event's id, and where it was read.
_Named = tuple[str, Entry]


class Rest(NamedTuple):
    """What is left of a page, and how many requested events are recorded as they are."""

    deliveries: Sequence[Delivery]
    unchanged: int = 0


async def without_recorded(
    pool: Pool, part: Part, deliveries: Sequence[Delivery]
) -> Rest:
    """Leave out what is recorded and needs no comparison. Raises TransientError.

    Of a request with filters, these are events that it may match.
    """
    request = part.request
    if part.mode == "reprocess" and not request.is_filtered:
        return Rest(deliveries)
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
    found = (_ID.match(each.payload) for each in deliveries)
    names = [each[1].decode() if each else None for each in found]
    pairs = zip(names, deliveries, strict=True)
    missing, horizon_ms = await _missing(
        pool, [(name, each.entry) for name, each in pairs if name is not None]
    )
    since, until = _digits(request.from_ms), _digits(request.to_ms)
    closed = _digits(horizon_ms)
    left: list[Delivery] = []
    unchanged = 0
    for name, each in zip(names, deliveries, strict=True):
        if name is None or (missing and (name, each.entry) in missing):
            left.append(each)
        elif since <= name < until:
            # Of a month that is closed, an event is refused, recorded or not.
            if name < closed:
                left.append(each)
            else:
                unchanged += 1
    return Rest(left, unchanged)


async def _missing(pool: Pool, named: Sequence[_Named]) -> tuple[set[_Named], int]:
    """Which events were not recorded from these entries, and up to when months are closed."""
    if not named:
        return set(), 0
    missing: set[_Named] = set()
    async with autocommit(pool) as connection:
        horizon = await connection.fetchval(_SQL["horizon"])
        # As a rule, all of a page are of one epoch.
        for (epoch, shard), some in groupby(named, key=_stream_of):
            names, entries = columns(some)
            _, _, *places = columns(entries)
            rows = await connection.fetch(
                _SQL["missing_entries"],
                "{" + ",".join(names) + "}",
                *map(array_literal, places),
                *(epoch, shard, min(names), max(names)),
            )
            missing |= {
                (row[0].hex, Entry(epoch, shard, row[1], row[2], row[3]))
                for row in rows
            }
    return missing, horizon or 0


def _stream_of(named: _Named) -> tuple[int, int]:
    """The epoch and shard in which an event was read."""
    entry = named[1]
    return entry.epoch, entry.shard


def _digits(ms: int) -> str:
    """How ids begin that are of this Unix millisecond or later, and no others."""
    return f"{max(ms, 0):0{_MS_DIGITS}x}" if ms < _END_MS else _BEHIND_ALL


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
