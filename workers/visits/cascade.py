"""What clicks that come or go change about recorded ones: looked up and written in batches."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Final
from uuid import UUID

from msgspec.structs import replace

from ingest.contracts.envelope import CLICK
from workers.counters.counters import CounterDeltas
from workers.model.rows import Row, StoredRow, timestamp
from workers.postgres.database import Connection, columns
from workers.postgres.sql import statements
from workers.visits.windows import (
    QUARTER_MS,
    Answer,
    Click,
    Clicks,
    Lookup,
    Lookups,
    Timeline,
)

_SQL: Final = statements("visits/visits")
_LINK_BYTES: Final = 16


async def play(
    connection: Connection,
    timelines: Mapping[bytes, Timeline],
    leaving: Clicks,
    arriving: Clicks,
) -> None:
    """Let clicks go and come. Each round asks for what all visitors need next.

    Recorded clicks that leave are no longer among their visitor's rows.
    """
    waiting: dict[bytes, tuple[Lookups, Lookup]] = {}
    for visitor, timeline in timelines.items():
        leave = map(timeline.leave, sorted(leaving.get(visitor, ())))
        arrive = map(timeline.arrive, sorted(arriving.get(visitor, ())))
        steps = _joined(chain(leave, arrive))
        if lookup := next(steps, None):
            waiting[visitor] = steps, lookup
    while waiting:
        answers = await _answers(
            connection, {visitor: lookup for visitor, (_, lookup) in waiting.items()}
        )
        for visitor, answer in answers.items():
            steps, _ = waiting.pop(visitor)
            try:
                waiting[visitor] = steps, steps.send(answer)
            except StopIteration:
                continue


async def put_flags(
    connection: Connection, flags: Mapping[UUID, bool], deltas: CounterDeltas
) -> None:
    """Set flags of recorded clicks and count the clicks anew. Needs the visitors' locks."""
    if not flags:
        return
    found = await connection.fetch(_SQL["flags_lock"], list(flags))
    before = [
        row
        for row in map(StoredRow.of, found)
        if row.event.is_duplicate is not flags[row.id]
    ]
    after = [
        replace(row, event=replace(row.event, is_duplicate=flags[row.id]))
        for row in before
    ]
    deltas.take(before)
    deltas.put(after)
    ids = [row.id for row in after]
    await connection.execute(_SQL["flags_put"], ids, [flags[each] for each in ids])


def clicks_of(rows: Iterable[Row]) -> dict[bytes, list[Click]]:
    """The clicks among rows that are compared with others of their visitor."""
    found: dict[bytes, list[Click]] = {}
    for row in rows:
        envelope, link_id = row.envelope, row.place.link_id
        visitor, request = envelope.client.visitor, envelope.request
        if (
            visitor
            and link_id
            and envelope.kind is CLICK
            and not request.is_test
            and request.at >= QUARTER_MS
        ):
            visitor += link_id.bytes
            click = Click(request.at, envelope.id)
            if visitor in found:
                found[visitor].append(click)
            else:
                found[visitor] = [click]
    return found


async def recorded_clicks(
    connection: Connection, ids: Sequence[UUID]
) -> dict[bytes, list[Click]]:
    """Those of these events that are compared with others of their visitor."""
    found: dict[bytes, list[Click]] = {}
    for record in await connection.fetch(_SQL["clicks_of"], ids):
        visitor = record["visitor"] + record["link_id"].bytes
        click = Click.at_time(record["at"], record["id"])
        found.setdefault(visitor, []).append(click)
    return found


def _joined(parts: Iterable[Lookups]) -> Lookups:
    for part in parts:
        yield from part


async def _answers(
    connection: Connection, lookups: Mapping[bytes, Lookup]
) -> dict[bytes, Answer]:
    visitors = list(lookups)
    spans = [
        (timestamp(each.low_ms), timestamp(each.high_ms), each.displaced)
        for each in lookups.values()
    ]
    found = await connection.fetch(
        _SQL["duplicates_first"],
        list(range(len(visitors))),
        [visitor[:-_LINK_BYTES] for visitor in visitors],
        [UUID(bytes=visitor[-_LINK_BYTES:]) for visitor in visitors],
        *columns(spans),
    )
    return {
        visitors[record["place"]]: Answer(
            None if record["id"] is None else Click.at_time(record["at"], record["id"]),
            is_closed=bool(record["is_closed"]),
        )
        for record in found
    }
