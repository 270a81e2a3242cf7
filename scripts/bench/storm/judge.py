"""What the client remembers against the database: what was promised, and what became of it.

A request without an answer promises nothing: its event may be there or not. bio.re's clicks
are answered alike whether they found a place or not; the edges log those that found none,
and no more than so many may be missing.

Entries that Valkey lost are known from its file. Their events are gone, unless they stand in
another entry, or were recorded before: as many as were promised and are gone, and at most as
many as are gone at all, is what the ledger may say of them.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from ingest.contracts.encoding.envelopes import Undecodable, decode
from ingest.contracts.envelope import Envelope, Kind
from ingest.contracts.stream import split
from scripts.bench.storm.append_only import Append
from scripts.bench.storm.client import History
from scripts.bench.storm.traffic import refund_of
from scripts.servers import Connection, rows, single
from scripts.sql import statements

_SQL: Final = statements("bench/storm/storm")
_MARK: Final = re.compile("storm=([^&#]+)")
_NO_PLACE: Final = b'"edge.lost"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Marks of events, but for what is said otherwise.

    `astray`: an accepted click whose answered id leads nowhere, or to another click.
    """

    lost: list[str]
    #: Of what is lost, what Valkey did not lose.
    unexplained: list[str]
    #: How many events Valkey lost, whether promised or not.
    gone: int
    doubled: list[str]
    astray: list[str]
    accepted: int
    #: Promised nothing, and recorded all the same.
    recorded: int
    #: Clicks that were told yes and found no place, as the edges said, too.
    unplaced: int
    #: Rows, by reason.
    quarantined: Mapping[str, int]
    #: Accepted twice or more, and repeats of that.
    again: int

    @property
    def is_fine(self) -> bool:
        return not (self.unexplained or self.doubled or self.astray)

    def agrees(self, least: int, most: int | None) -> bool:
        """Whether so much may be lost as the ledger says; at most None: nobody knows."""
        return least <= self.gone and (most is None or len(self.lost) <= most)


async def judge(
    connection: Connection,
    histories: Mapping[str, History],
    unplaced: int,
    lost: Iterable[Append] = (),
) -> Verdict:
    """What became of every history.

    The edges said of so many clicks that they are unplaced; Valkey `lost` these entries.
    """
    await connection.execute(_SQL["recorded_table"])
    await connection.execute(_SQL["quarantined_table"])
    kept = await rows(connection, _SQL["quarantined"])
    await connection.copy_records_to_table(
        "storm_quarantined", records=_quarantined(kept)
    )
    accepted = [history for history in histories.values() if history.accepted]
    missing = await _marks(connection, "lost", [history.mark for history in accepted])
    events = [decode(payload) for entry in lost for payload in split(entry.payload)]
    # A click id of these may lead nowhere, though the click came again under another.
    vanished = {event.id for event in events}
    marks = {
        *await _marks(
            connection,
            "gone",
            [event.id for event in events],
            [_mark_of(event) for event in events],
        )
    }
    mute = [
        mark
        for mark in missing
        if histories[mark].kind == "mute click" and mark not in marks
    ]
    # So many are explained; which of them they are is not known.
    places = {*mute[:unplaced]}
    told = [
        (history.mark, each)
        for history in accepted
        for each in history.event_ids - vanished
    ]
    counted = await single(connection, _SQL["recorded"])
    return Verdict(
        lost=sorted({*missing} - places),
        unexplained=sorted({*missing} - places - marks),
        gone=len(marks),
        doubled=await _marks(connection, "doubled"),
        astray=await _marks(
            connection, "astray", [mark for mark, _ in told], [each for _, each in told]
        ),
        accepted=len(accepted),
        recorded=counted["marks"],
        unplaced=len(places),
        quarantined=_by_reason(kept),
        again=sum(history.accepted - 1 for history in accepted),
    )


def unplaced_by(logs: Iterable[Path]) -> int:
    """How many clicks the edges say they had no place for."""
    return sum(log.read_bytes().count(_NO_PLACE) for log in logs)


async def _marks(
    connection: Connection, statement: str, *arguments: object
) -> list[str]:
    found = await rows(connection, _SQL[statement], *arguments)
    return [row["mark"] for row in found]


def _quarantined(kept: Iterable[Mapping[str, Any]]) -> list[tuple[str, UUID | None]]:
    return [(mark, row["event_id"]) for row in kept if (mark := _mark(row["payload"]))]


def _mark(payload: bytes) -> str | None:
    """The mark of an event, where `storm.sql` finds it in a row."""
    try:
        envelope: Envelope = decode(payload)
    except Undecodable:
        return None
    return _mark_of(envelope)


def _mark_of(envelope: Envelope) -> str | None:
    found = _MARK.search(envelope.client.page_url or "")
    if found:
        return found[1]
    told = envelope.details.parsed_properties
    if envelope.kind is Kind.REFUND:
        return refund_of(str(told.get("external_id")))
    metadata = told.get("metadata")
    mark = told.get("storm") or (
        metadata.get("storm") if isinstance(metadata, dict) else None
    )
    return mark if isinstance(mark, str) else None


def _by_reason(kept: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    reasons: dict[str, int] = {}
    for row in kept:
        reasons[row["reason"]] = reasons.get(row["reason"], 0) + 1
    return reasons
