"""Pseudonymizes an erasure's rows in PostgreSQL: events and quarantine.

Each page is one transaction that removes its events from the list. So no event is rewritten
twice, even by concurrent workers or after a crash. All calls raise TransientError.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self
from uuid import UUID

from ingest.contracts.marks import seen_key
from workers.erasure.payloads import pseudonymize_payloads
from workers.erasure.suppression import Suppressions, load_pseudonymizer
from workers.model.batch import Delivery, Entry
from workers.model.enrichment import Agent
from workers.model.rows import (
    ENRICHMENT_COLUMNS,
    FIRST_DIGEST,
    DatabaseRecord,
    entry_of,
)
from workers.postgres.database import Connection, Pool, transaction
from workers.postgres.sql import statements
from workers.visits.visits import forget

_SQL: Final = statements("erasure/erasure")
_PAGE: Final = 500

#: What a bot says of itself is about no person.
_ABOUT_AGENT: Final = Agent.__struct_fields__
_PSEUDONYMIZE_EVENTS: Final = _SQL["events_pseudonymize"].format(
    enrichment=", ".join(
        f"{name} = case when is_bot then {name} end"
        if name in _ABOUT_AGENT
        else f"{name} = null"
        for name in ENRICHMENT_COLUMNS
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """An erasure in progress, with the person's external id."""

    id: UUID
    workspace_id: UUID
    customers: Sequence[UUID]
    quarantine_reached: int
    external_id: str | None
    #: The number of its clicks when it was read; more means that the erasure has grown.
    size: int

    @classmethod
    def of(cls, row: DatabaseRecord) -> Self:
        return cls(
            id=row["id"],
            workspace_id=row["workspace_id"],
            customers=row["customers"],
            quarantine_reached=row["quarantine_reached"],
            external_id=row["external_id"],
            size=row["size"],
        )


async def pseudonymize_events(pool: Pool, erasure: Erasure) -> int:
    """Rewrite the next page of events; how many there were."""
    async with transaction(pool) as connection:
        taken = await connection.fetch(_SQL["events_take"], erasure.id, _PAGE)
        if not taken:
            return 0
        events = [row["event_id"] for row in taken]
        await forget(connection, events)
        await connection.execute(_SQL["customers_lock"], erasure.customers)
        pseudonymizer = await load_pseudonymizer(connection)
        rows = await connection.fetch(_SQL["events_read"], events)
        await connection.execute(
            _PSEUDONYMIZE_EVENTS,
            [row["id"] for row in rows],
            [row["session"] and pseudonymizer.session(row["session"]) for row in rows],
            FIRST_DIGEST,
        )
        left = sorted(map(_leftover, rows))
        await connection.executemany(_SQL["leftover"], left)
        await connection.execute(_SQL["leftovers_of_repeats"], events)
    return len(events)


async def pseudonymize_quarantine(
    pool: Pool, erasure: Erasure, suppressions: Suppressions, after: int
) -> int | None:
    """Rewrite the next page of quarantine after an id; the id reached, None at the end.

    Every payload is decoded, since quarantine has no index by person. If an entry was edited
    or deleted meanwhile, the page has to be repeated: then this is `after`.
    """
    async with transaction(pool) as connection:
        page = await connection.fetch(_SQL["quarantine_page"], after, _PAGE)
        ids: list[int] = [row["id"] for row in page]
        former = await connection.fetch(_SQL["history_page"], ids)
    if not page:
        return None
    found = await _pseudonymized(
        pool, [(entry_of(row), row["payload"]) for row in page], suppressions
    )
    # Former payloads have no stream entry: their row ids tell them apart.
    edited = [(Entry(0, 0, 0, row["id"]), row["payload"]) for row in former]
    history = await _pseudonymized(pool, edited, suppressions, is_arriving=False)
    async with transaction(pool) as connection:
        asked = [row for row in page if entry_of(row) in found]
        changed = [
            row["id"]
            for row in asked
            if await _replace_payload(connection, row, found[entry_of(row)])
        ]
        for entry, payload in history.items():
            await connection.execute(_SQL["history_pseudonymize"], entry.seq, payload)
        await connection.execute(_SQL["history_hush"], changed)
        reached = ids[-1] if len(changed) == len(asked) else after
        await connection.execute(
            _SQL["quarantine_reached"],
            erasure.id,
            reached,
            len(changed),
            erasure.size,
        )
    return reached


async def _replace_payload(
    connection: Connection, row: DatabaseRecord, payload: bytes
) -> bool:
    """Replace a row's payload; False if it was edited meanwhile."""
    found = await connection.fetchval(
        _SQL["quarantine_pseudonymize"], row["id"], row["payload"], payload
    )
    if found is not None:
        await connection.execute(_SQL["leftover"], *entry_of(row)[:4], [])
    return found is not None


def _leftover(row: DatabaseRecord) -> tuple[int, int, int, int, list[str]]:
    """The entry and the keys of an event in Redis."""
    has_mark = row["link_id"] and row["visitor"]
    keys = [seen_key(row["link_id"], row["visitor"])] if has_mark else []
    return (*entry_of(row)[:4], keys)


async def _pseudonymized(
    pool: Pool,
    placed: Sequence[tuple[Entry, bytes]],
    suppressions: Suppressions,
    *,
    is_arriving: bool = True,
) -> Mapping[Entry, bytes]:
    deliveries = [Delivery(entry, payload) for entry, payload in placed]
    some = await pseudonymize_payloads(
        pool, suppressions, deliveries, is_arriving=is_arriving
    )
    return {entry: delivery.payload for entry, delivery in some.found.items()}
