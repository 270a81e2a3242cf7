"""A page of a replay, sorted: what is settled, what is missing, what may be wrong.

Here nothing is written but links that edges generated, which `generate`
makes in a transaction of its own before they are resolved.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from ingest.contracts import ids
from ingest.contracts.telemetry import Log
from workers.model.batch import Delivery, Entry
from workers.model.rows import Row
from workers.pipeline.pipeline import Pipeline
from workers.pipeline.row_builder import Decoded
from workers.postgres.database import transaction
from workers.quarantine.quarantine import RejectedEntry
from workers.replay.leases import Part
from workers.replay.recorded import RecordedState, look_up
from workers.replay.reprocess import Candidate, differs
from workers.resolve.generated_links import generate

_LOG: Final = Log()
_SLICE: Final = 100


@dataclass(slots=True)
class ClassifiedPage:
    """A page, sorted."""

    #: Of the list of suppressions by which it was made.
    version: int
    #: How many events of it are asked for.
    scanned: int = 0
    #: Of times whose partition is detached.
    refused: int = 0
    #: In no book, to be recorded; with those that wait in quarantine, to be tried again.
    fresh: list[Row] = field(default_factory=list)
    culprits: list[RejectedEntry] = field(default_factory=list)
    #: Entries among the fresh that wait in quarantine, or were dropped there.
    waiting: set[Entry] = field(default_factory=set)
    #: What was in the entries to be recorded.
    sealed: dict[Entry, Decoded] = field(default_factory=dict)
    #: Recorded, and perhaps not as it would be now.
    candidates: list[Candidate] = field(default_factory=list)

    @property
    def is_settled(self) -> bool:
        return not (self.fresh or self.culprits or self.candidates)

    def without(self, suspects: dict[Entry, RejectedEntry]) -> None:
        """Treat rows that Postgres refuses as what they are."""
        refused = [row for row in self.fresh if row.entry in suspects]
        self.fresh = [row for row in self.fresh if row.entry not in suspects]
        self.culprits += [
            suspects[row.entry] for row in refused if row.entry not in self.waiting
        ]


async def sort(
    pipeline: Pipeline, part: Part, deliveries: Sequence[Delivery]
) -> ClassifiedPage:
    """What is asked for, and what is to be done with it. Raises Trouble."""
    found = await pipeline.unseal(deliveries)
    if found.newer:
        _LOG.warning("entry.newer", count=len(found.newer))
    request = part.request
    asked = [item for item in found.sealed if request.takes(item.envelope)]
    unreadable = [
        each for each in found.culprits if request.takes_unreadable(each.delivery.entry)
    ]
    entries = [item.delivery.entry for item in asked]
    entries += [culprit.delivery.entry for culprit in unreadable]
    async with transaction(pipeline.pool) as connection:
        events = [item.envelope.id for item in asked]
        settled = await look_up(connection, events, entries)
    page = ClassifiedPage(found.version, scanned=len(unreadable))
    page.culprits = [
        each for each in unreadable if not settled.has(None, each.delivery.entry)
    ]
    recorded = _split(part, asked, settled, page)
    if recorded or page.sealed:
        await _place(pipeline, part, recorded, settled, page)
    return page


async def _place(
    pipeline: Pipeline,
    part: Part,
    recorded: Sequence[Decoded],
    settled: RecordedState,
    page: ClassifiedPage,
) -> None:
    """Resolve and enrich what is to be recorded or compared."""
    others = list(page.sealed.values())
    if not part.request.is_dry:
        envelopes = [item.envelope for item in others]
        await generate(pipeline.pool, envelopes, pipeline.new_id)
    rows, culprits = await _placed(pipeline, [*recorded, *others])
    for row in rows:
        if item := page.sealed.get(row.entry):
            is_asked = _is_asked(part, item, row)
            page.fresh += [row] * is_asked
            page.scanned -= not is_asked
        else:
            candidate = Candidate(row, settled.rows[row.id])
            page.candidates += [candidate] * differs(candidate)
    for culprit in culprits:
        item = page.sealed.get(culprit.delivery.entry)
        # What is recorded, or in quarantine already, stays as it is.
        if item is None or culprit.delivery.entry in page.waiting:
            continue
        is_asked = part.request.takes_place(item.envelope, None, None)
        page.culprits += [culprit] * is_asked
        page.scanned -= not is_asked


async def _placed(
    pipeline: Pipeline, items: Sequence[Decoded]
) -> tuple[list[Row], list[RejectedEntry]]:
    """A slice at a time: enriching keeps everything else in the process waiting."""
    rows: list[Row] = []
    culprits: list[RejectedEntry] = []
    for start in range(0, len(items), _SLICE):
        found, refused = await pipeline.place(items[start : start + _SLICE])
        rows += found
        culprits += refused
    return rows, culprits


def _is_asked(part: Part, item: Decoded, row: Row) -> bool:
    """Whether it is asked for where it turned out to belong."""
    return part.request.takes_place(
        item.envelope, row.place.workspace_id, row.place.link_id
    )


def _split(
    part: Part, asked: Sequence[Decoded], settled: RecordedState, page: ClassifiedPage
) -> list[Decoded]:
    """Put into the page what may have to be recorded; what may have to be corrected."""
    recorded: list[Decoded] = []
    is_again = part.mode == "reprocess"
    for item in asked:
        entry, event_id = item.delivery.entry, item.envelope.id
        is_settled = settled.has(event_id, entry)
        is_known = is_settled or event_id in settled.rows
        if is_known and not _is_meant(part, item, settled):
            continue
        page.scanned += 1
        # First: a month that is only closed still shows its rows.
        if ids.millis(event_id) < settled.horizon_ms:
            page.refused += 1
        elif settled.row(event_id, entry) is not None:
            is_as_read = not settled.is_edited(entry, item.delivery.payload)
            recorded += [item] * (is_again and is_as_read)
        elif is_again and settled.waiting.get(entry) == item.delivery.payload:
            # One that an operator edited is not what was read: it is redriven, not replayed.
            page.waiting.add(entry)
            page.sealed[entry] = item
        elif entry in settled.dropped:
            page.waiting.add(entry)
            page.sealed[entry] = item
        elif not is_settled:
            page.sealed[entry] = item
    return recorded


def _is_meant(part: Part, item: Decoded, settled: RecordedState) -> bool:
    """Whether it is asked for where it is recorded, or where it says that it belongs."""
    row = settled.rows.get(item.envelope.id)
    owner, link = (row["workspace_id"], row["link_id"]) if row else (None, None)
    return part.request.takes_place(item.envelope, owner, link)
