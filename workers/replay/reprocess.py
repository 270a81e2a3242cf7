"""Reprocessing: resolves and enriches recorded rows again, and corrects them.

A row keeps its entry, event and time. Its links, partner and enrichment are set again, and
the counters change by the difference, in the same transaction and under the same locks as any
batch. Leads are always attributed again, since windows, models and clicks may have changed.

An event that would move to another workspace stays: its claims, its customer and its key
belong to the old one.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from msgspec import json
from msgspec.structs import replace

from ingest.contracts.envelope import CLICK, Kind
from workers.counters.counters import CounterDeltas
from workers.model.rows import (
    COLUMNS,
    ENRICHMENT_COLUMNS,
    DatabaseRecord,
    Row,
    StoredRow,
    entry_of,
    values_of,
)
from workers.postgres.database import Connection, Locks
from workers.postgres.sql import statements
from workers.visits.cascade import clicks_of
from workers.visits.visits import MovedClicks, Visits
from workers.visits.windows import Click, keys_concerned
from workers.write import customers, profile_merge, publish_queue

_SQL: Final = statements("replay/replays")

#: The columns that do not come from the envelope.
_DERIVED: Final = (
    "is_bot", "link_id", "program_id", "partner_id", "click_id", "asked_program_id",
    "customer_id", "api_key_id", "ip", *ENRICHMENT_COLUMNS,
)  # fmt: skip
_CORRECT: Final = _SQL["correct"].format(
    changes=", ".join(f"{name} = row.{name}" for name in _DERIVED)
)
_EARNED: Final = ("link_id", "program_id", "partner_id")
_ATTRIBUTION: Final = ("attributed_id", *_EARNED)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A recorded event as it would be recorded now, and its row."""

    row: Row
    stored: DatabaseRecord


def may_differ(candidate: Candidate) -> bool:
    """Whether the row differs, or is a lead, whose attribution may differ."""
    row, stored = candidate.row, candidate.stored
    # A refund is what its sale makes of it.
    is_refund = row.event.kind is Kind.REFUND
    if is_refund or row.place.workspace_id != stored["workspace_id"]:
        return False
    return _is_attributable(row) or _differs(_with_stored(row, stored), stored)


async def identify(
    connection: Connection,
    candidates: Sequence[Candidate],
    new_id: Callable[[], UUID],
) -> tuple[list[Candidate], customers.LockSet]:
    """The candidates with their customers, and the customers to lock."""
    rows, _ = await customers.identify(connection, [c.row for c in candidates], new_id)
    found = [
        Candidate(_with_stored(row, each.stored), each.stored)
        for row, each in zip(rows, candidates, strict=True)
    ]
    fresh = await profile_merge.create_anonymous(connection, rows)
    gone = [StoredRow.of(each.stored) for each in found]
    return found, customers.lock_set_of(rows, gone, fresh, frozenset())


async def correct(
    connection: Connection,
    candidates: Sequence[Candidate],
    lock_set: customers.LockSet,
    visits: Visits,
    wider: Locks,
) -> int:
    """Correct what differs, and what depends on it; how many rows changed.

    Raises LockSetGrew if the transaction has to begin again with more locks.
    """
    if lock_set.ids:
        lock_set = await customers.lock(connection, lock_set, wider.customers)
    ids = [each.row.id for each in candidates]
    before = {row["id"]: row for row in await connection.fetch(_SQL["lock_rows"], ids)}
    others = [
        Candidate(_with_stored(each.row, stored), stored)
        for each in candidates
        if (stored := before.get(each.row.id)) and entry_of(stored) == each.row.entry
    ]
    changed_candidates = [each for each in others if _differs(each.row, each.stored)]
    moved = _moved(changed_candidates)
    visits.require(*moved)
    deltas = CounterDeltas()
    deltas.take(StoredRow.of(each.stored) for each in changed_candidates)
    rows = [each.row for each in changed_candidates]
    deltas.put(rows)
    deltas.clicked(rows)
    if rows:
        await connection.execute(_CORRECT, _document(rows))
        await visits.settle(moved, deltas)
        await profile_merge.merge_profiles(connection, rows, frozenset())
    if lock_set.ids:
        await customers.reattribute(connection, lock_set, deltas)
    await deltas.apply(connection)
    await publish_queue.keep_tokens(connection, rows)
    changed = {row.id for row in rows} | await _reattributed(connection, others)
    if changed or deltas.links:
        await publish_queue.note(
            connection, [c.row for c in others], (), lock_set, deltas.links
        )
    return len(changed)


async def _reattributed(
    connection: Connection, candidates: Sequence[Candidate]
) -> set[UUID]:
    """The leads whose attribution has changed."""
    leads = {c.row.id: c.stored for c in candidates if _is_attributable(c.row)}
    if not leads:
        return set()
    found = await connection.fetch(_SQL["attributions"], list(leads))
    return {
        row["id"]
        for row in found
        if any(row[name] != leads[row["id"]][name] for name in _ATTRIBUTION)
    }


def _is_attributable(row: Row) -> bool:
    """Whether its attribution depends on its customer's clicks."""
    is_somebodys = (
        row.place.click_id or row.customer_id or row.envelope.customer.external_id
    )
    return row.event.kind is not CLICK and not row.event.is_test and bool(is_somebodys)


def visits_of(
    candidates: Sequence[Candidate], fresh: Sequence[Row]
) -> frozenset[bytes]:
    """The visits to lock first if clicks move to other links, with those of new rows."""
    moved = _moved(candidates)
    if not moved.leaving:
        return frozenset()
    clicks = (*moved, clicks_of(fresh))
    return frozenset().union(*map(keys_concerned, clicks))


def _moved(candidates: Iterable[Candidate]) -> MovedClicks:
    """The clicks that move to other links, unless their visitors were erased."""
    leaving: dict[bytes, list[Click]] = {}
    arriving: dict[bytes, list[Click]] = {}
    for row, stored in ((each.row, each.stored) for each in candidates):
        visitor, before, after = stored["visitor"], stored["link_id"], row.place.link_id
        if row.event.kind is not CLICK or row.event.is_test or not visitor:
            continue
        if before and after and before != after:
            click = Click.at_time(row.at, row.id)
            leaving.setdefault(visitor + before.bytes, []).append(click)
            arriving.setdefault(visitor + after.bytes, []).append(click)
    return MovedClicks(leaving, arriving)


def _with_stored(row: Row, stored: DatabaseRecord) -> Row:
    """Add what the envelope does not hold: the flag, a lead's attribution and customer."""
    if row.event.is_duplicate is not stored["is_duplicate"]:
        event = replace(row.event, is_duplicate=stored["is_duplicate"])
        row = replace(row, event=event)
    if not _is_attributable(row):
        return row
    # Before it is identified, its customer stays.
    place = replace(row.place, **{name: stored[name] for name in _EARNED})
    return replace(
        row, place=place, customer_id=row.customer_id or stored["customer_id"]
    )


def _differs(row: Row, stored: DatabaseRecord) -> bool:
    return any(
        _comparable(name, value) != _comparable(name, stored[name])
        for name, value in _derived(row).items()
    )


def _derived(row: Row) -> dict[str, Any]:
    values = dict(zip(COLUMNS, values_of(row), strict=True))
    return {name: values[name] for name in _DERIVED}


def _comparable(name: str, value: Any) -> Any:
    """A value in the form in which both sides are compared."""
    if value is None:
        return None
    if name == "failed":
        return list(value)
    if name == "ip":
        return str(value)
    # PostgreSQL pads values of type char.
    return value.strip() if isinstance(value, str) else value


def _document(rows: Sequence[Row]) -> str:
    """The rows as JSON, for `jsonb_populate_recordset`."""
    return json.encode([{"id": row.id, **_derived(row)} for row in rows]).decode()
