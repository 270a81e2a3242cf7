"""Leases marked entries, and stores the outcome of their redrive.

A lease only avoids double work. Correctness rests on the entry's row lock and status in the
transaction that records it.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import orjson

from ingest.contracts.storable import text
from workers.model.batch import Delivery
from workers.model.rejected import Reason, RejectedEntry
from workers.model.rows import DatabaseRecord, entry_of
from workers.postgres.database import Connection, Pool, columns, transaction
from workers.postgres.sql import statements

_SQL: Final = statements("redrive/redrive")
_DETAIL_CHARS: Final = 500

#: Longer than a page takes; a dead worker's entries are tried again after so long.
LEASE: Final = timedelta(seconds=15)
#: An entry that met a bug is tried again after so long.
_BUG_RETRY: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class LeasedEntry:
    """An entry of quarantine under lease, to be tried now."""

    id: int
    delivery: Delivery
    reason: Reason
    #: Attempts begun since the last one ended; more than one means that a worker died.
    tries: int
    lease: datetime

    def rejected(self, reason: Reason, detail: str) -> RejectedEntry:
        """The entry, refused without a look at its envelope."""
        return RejectedEntry(self.delivery, None, reason=reason, detail=detail)


@dataclass(frozen=True, slots=True)
class Failure:
    """An entry that is refused again, and why."""

    leased: LeasedEntry
    rejected: RejectedEntry


async def take(pool: Pool, limit: int) -> list[LeasedEntry]:
    """Lease the next marked entries, or one alone of those that may crash workers.

    Raises TransientError.
    """
    async with transaction(pool) as connection:
        found = await connection.fetch(_SQL["marks_take"], limit, LEASE)
        if not found:
            found = await connection.fetch(_SQL["marks_take_suspect"], LEASE)
    return sorted(map(_leased, found), key=lambda leased: leased.id)


async def release(pool: Pool, ids: Collection[int]) -> None:
    """Give up the leases of entries that could not be tried. Raises TransientError."""
    async with transaction(pool) as connection:
        await connection.execute(_SQL["marks_release"], sorted(ids))


async def postpone(pool: Pool, leased: LeasedEntry, cause: str) -> None:
    """Try an entry again in a minute. Raises TransientError."""
    async with transaction(pool) as connection:
        await connection.execute(
            _SQL["marks_put_off"],
            leased.id,
            leased.lease,
            text(f"could not be tried: {cause}", _DETAIL_CHARS),
            _BUG_RETRY,
        )


async def lock(
    connection: Connection, page: Sequence[LeasedEntry]
) -> list[LeasedEntry]:
    """Lock entries; those that are still open and were not edited since."""
    found = await connection.fetch(_SQL["marks_lock"], [leased.id for leased in page])
    payloads = {row["id"]: row["payload"] for row in found}
    return [each for each in page if payloads.get(each.id) == each.delivery.payload]


async def mark_redriven(
    connection: Connection, page: Sequence[LeasedEntry], who: str
) -> None:
    """Mark entries as redriven."""
    if page:
        await connection.execute(_SQL["marks_done"], [each.id for each in page], who)


async def mark_failed(
    connection: Connection, page: Iterable[Failure], who: str
) -> None:
    """Store why entries are refused again."""
    if failed := columns(map(_columns, page)):
        await connection.execute(_SQL["marks_failed"], *failed, who)


def _columns(failure: Failure) -> tuple[object, ...]:
    rejected = failure.rejected
    return (
        failure.leased.id,
        rejected.reason,
        text(rejected.detail, _DETAIL_CHARS),
        orjson.dumps(rejected.waits_for).decode(),
        failure.leased.lease,
        rejected.workspace_id,
    )


def _leased(row: DatabaseRecord) -> LeasedEntry:
    return LeasedEntry(
        id=row["id"],
        delivery=Delivery(entry_of(row), row["payload"]),
        reason=row["reason"],
        tries=row["tries"],
        lease=row["redrive_at"],
    )
