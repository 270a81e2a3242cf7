"""Classifies a page of a replay: entries to record, to correct, to leave as they are.

It writes nothing but generated links, in a transaction of their own before resolving.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from ingest.contracts import ids
from ingest.contracts.telemetry import Log
from workers.model.batch import Delivery, Entry, RejectedEntry
from workers.model.rows import DatabaseRecord, Row, entry_of
from workers.pipeline.pipeline import Pipeline
from workers.pipeline.row_builder import Decoded
from workers.postgres.database import Connection, columns, transaction
from workers.postgres.sql import statements
from workers.replay.leases import Part
from workers.replay.reprocess import Candidate, may_differ
from workers.replay.scope import Place
from workers.resolve.generated_links import generate

_SQL: Final = statements("replay/replays")
_LOG: Final = Log()
#: Enriching blocks the event loop, so it is done in slices.
_SLICE: Final = 100


def _by_status() -> dict[str, dict[Entry, bytes]]:
    return defaultdict(dict)


@dataclass(slots=True)
class RecordedState:
    """The recorded state of some entries."""

    #: The rows under the entries' events, each whole.
    rows: dict[UUID, DatabaseRecord] = field(default_factory=dict)
    #: Payloads by what became of the entry: `repeat`, `dropped`, or its status in quarantine.
    others: dict[str, dict[Entry, bytes]] = field(default_factory=_by_status)
    #: The partitions of events before it are detached; Unix milliseconds.
    horizon_ms: int = 0

    def row(self, event_id: UUID, entry: Entry) -> DatabaseRecord | None:
        """The row that was recorded from this entry."""
        row = self.rows.get(event_id)
        return row if row is not None and entry_of(row) == entry else None

    def is_edited(self, entry: Entry, payload: bytes) -> bool:
        """Whether an operator edited the entry before it was redriven."""
        return self.others["redriven"].get(entry, payload) != payload

    def is_accounted(self, event_id: UUID | None, entry: Entry) -> bool:
        """Whether the ledger accounts for the entry."""
        if event_id is not None and self.row(event_id, entry) is not None:
            return True
        return any(
            entry in found
            for status, found in self.others.items()
            if status != "redriven"
        )


async def look_up(
    connection: Connection, ids: Sequence[UUID], entries: Sequence[Entry]
) -> RecordedState:
    """Look up these events and entries."""
    found = RecordedState(horizon_ms=await connection.fetchval(_SQL["horizon"]) or 0)
    if entries:
        for row in await connection.fetch(_SQL["recorded"], ids):
            found.rows[row["id"]] = row
        for row in await connection.fetch(_SQL["accounted"], *columns(entries)):
            found.others[row["status"]][entry_of(row)] = row["payload"]
    return found


@dataclass(slots=True)
class ClassifiedPage:
    """What has to be done with a page's entries."""

    #: The version of the suppressions used.
    version: int
    #: The number of requested events.
    scanned: int = 0
    #: Requested events whose partition is detached.
    refused: int = 0
    #: To record: missing entries, and entries in quarantine to try again.
    fresh: list[Row] = field(default_factory=list)
    rejections: list[RejectedEntry] = field(default_factory=list)
    #: The `fresh` entries that are in quarantine or were dropped there.
    waiting: set[Entry] = field(default_factory=set)
    #: The decoded envelopes of the entries to record.
    sealed: dict[Entry, Decoded] = field(default_factory=dict)
    #: Recorded entries that reprocessing may change.
    candidates: list[Candidate] = field(default_factory=list)

    @property
    def has_no_changes(self) -> bool:
        return not (self.fresh or self.rejections or self.candidates)

    def without(self, unstorable: dict[Entry, RejectedEntry]) -> None:
        """Move rows that PostgreSQL refuses from `fresh` to `rejections`."""
        refused = [row for row in self.fresh if row.entry in unstorable]
        self.fresh = [row for row in self.fresh if row.entry not in unstorable]
        self.rejections += [
            unstorable[row.entry] for row in refused if row.entry not in self.waiting
        ]


async def classify(
    pipeline: Pipeline, part: Part, deliveries: Sequence[Delivery]
) -> ClassifiedPage:
    """Classify the requested ones of these entries. Raises TransientError."""
    if not deliveries:
        return ClassifiedPage(0)
    found = await pipeline.unseal(deliveries)
    if found.newer:
        _LOG.warning("entry.newer", count=len(found.newer))
    request = part.request
    requested = [item for item in found.sealed if request.matches(item.envelope)]
    unreadable = [
        each
        for each in found.rejections
        if request.matches_unreadable(each.delivery.entry)
    ]
    entries = [item.delivery.entry for item in requested]
    entries += [rejected.delivery.entry for rejected in unreadable]
    async with transaction(pipeline.pool) as connection:
        events = [item.envelope.id for item in requested]
        recorded = await look_up(connection, events, entries)
    page = ClassifiedPage(found.version, scanned=len(unreadable))
    page.rejections = [
        each
        for each in unreadable
        if not recorded.is_accounted(None, each.delivery.entry)
    ]
    to_compare = _split(part, requested, recorded, page)
    if to_compare or page.sealed:
        await _resolve_and_compare(pipeline, part, to_compare, recorded, page)
    return page


async def _resolve_and_compare(
    pipeline: Pipeline,
    part: Part,
    to_compare: Sequence[Decoded],
    recorded: RecordedState,
    page: ClassifiedPage,
) -> None:
    """Resolve and enrich entries, then record or compare them."""
    others = list(page.sealed.values())
    if not part.request.is_dry:
        envelopes = [item.envelope for item in others]
        await generate(pipeline.pool, envelopes, pipeline.new_id)
    items = [*to_compare, *others]
    rows: list[Row] = []
    rejections: list[RejectedEntry] = []
    for start in range(0, len(items), _SLICE):
        found, refused = await pipeline.place(items[start : start + _SLICE])
        rows += found
        rejections += refused
    for row in rows:
        if item := page.sealed.get(row.entry):
            is_asked = part.scope.has(item.envelope, Place.of(row.place))
            page.fresh += [row] * is_asked
            page.scanned -= not is_asked
        else:
            candidate = Candidate(row, recorded.rows[row.id])
            page.candidates += [candidate] * may_differ(candidate)
    for rejected in rejections:
        item = page.sealed.get(rejected.delivery.entry)
        # Recorded and quarantined entries stay as they are.
        if item is None or rejected.delivery.entry in page.waiting:
            continue
        is_asked = part.scope.has(item.envelope, Place())
        page.rejections += [rejected] * is_asked
        page.scanned -= not is_asked


def _split(
    part: Part,
    requested: Sequence[Decoded],
    recorded: RecordedState,
    page: ClassifiedPage,
) -> list[Decoded]:
    """Add to the page what may have to be recorded; returns what to compare."""
    to_compare: list[Decoded] = []
    is_again = part.mode == "reprocess"
    for item in requested:
        entry, event_id = item.delivery.entry, item.envelope.id
        has_no_changes = recorded.is_accounted(event_id, entry)
        is_known = has_no_changes or event_id in recorded.rows
        if is_known and not _is_requested_as_recorded(part, item, recorded):
            continue
        page.scanned += 1
        # First, since a closed month that is not detached yet still has its rows.
        if ids.millis(event_id) < recorded.horizon_ms:
            page.refused += 1
        elif recorded.row(event_id, entry) is not None:
            is_as_read = not recorded.is_edited(entry, item.delivery.payload)
            to_compare += [item] * (is_again and is_as_read)
        elif is_again and recorded.others["open"].get(entry) == item.delivery.payload:
            # An entry that an operator edited is redriven, not replayed.
            page.waiting.add(entry)
            page.sealed[entry] = item
        elif entry in recorded.others["dropped"]:
            page.waiting.add(entry)
            page.sealed[entry] = item
        elif not has_no_changes:
            page.sealed[entry] = item
    return to_compare


def _is_requested_as_recorded(
    part: Part, item: Decoded, recorded: RecordedState
) -> bool:
    """Whether the request includes the event by its recorded workspace and link."""
    row = recorded.rows.get(item.envelope.id)
    return part.scope.has(item.envelope, Place.of_row(row) if row else Place())
