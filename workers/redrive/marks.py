"""Marked entries: taking them under a lease, and saying what became of them.

The lease keeps others from the same work and no more: what decides is
the lock on the entry, and its status, in the transaction that records it.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import orjson

from ingest.contracts.storable import text
from workers.model.batch import Delivery, Entry
from workers.model.rows import ENTRY_COLUMNS, DatabaseRecord
from workers.postgres.database import Connection, Pool, transaction
from workers.postgres.sql import statements
from workers.quarantine.quarantine import Reason, RejectedEntry

_SQL: Final = statements("redrive/redrive")
_DETAIL_CHARS: Final = 500

#: Longer than a page takes; a dead worker's entries are tried again after so long.
LEASE: Final = timedelta(seconds=15)


#: After which what a bug of ours met is tried again.
_PUT_OFF: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class LeasedEntries:
    """An entry of quarantine under lease, to be tried now."""

    id: int
    delivery: Delivery
    reason: Reason
    #: How often it was begun since it last ended; more than one: somebody died of it.
    tries: int
    lease: datetime


@dataclass(frozen=True, slots=True)
class Failure:
    """What refuses an entry still."""

    taken: LeasedEntries
    culprit: RejectedEntry


async def take(pool: Pool, limit: int) -> list[LeasedEntries]:
    """The next marked entries; of those that a worker may have died of, one alone.

    Raises Trouble.
    """
    async with transaction(pool) as connection:
        found = await connection.fetch(_SQL["marks_take"], limit, LEASE)
        if not found:
            found = await connection.fetch(_SQL["marks_take_suspect"], LEASE)
    return sorted(map(_taken, found), key=lambda taken: taken.id)


async def release(pool: Pool, ids: Collection[int]) -> None:
    """Let entries be taken again that could not be tried. Raises Trouble."""
    async with transaction(pool) as connection:
        await connection.execute(_SQL["marks_release"], sorted(ids))


async def put_off(pool: Pool, taken: LeasedEntries, cause: str) -> None:
    """Try an entry again in a minute, and let the others go on. Raises Trouble."""
    async with transaction(pool) as connection:
        await connection.execute(
            _SQL["marks_put_off"],
            taken.id,
            taken.lease,
            text(f"could not be tried: {cause}", _DETAIL_CHARS),
            _PUT_OFF,
        )


async def lock(
    connection: Connection, page: Sequence[LeasedEntries]
) -> list[LeasedEntries]:
    """Lock entries; those that are open still, and were not edited since."""
    found = await connection.fetch(_SQL["marks_lock"], [taken.id for taken in page])
    payloads = {row["id"]: row["payload"] for row in found}
    return [each for each in page if payloads.get(each.id) == each.delivery.payload]


async def done(connection: Connection, page: Sequence[LeasedEntries], who: str) -> None:
    """These are put back."""
    if page:
        await connection.execute(_SQL["marks_done"], [each.id for each in page], who)


async def failed(connection: Connection, page: Iterable[Failure], who: str) -> None:
    """These are refused again."""
    columns = [list(column) for column in zip(*map(_columns, page), strict=True)]
    if columns:
        await connection.execute(_SQL["marks_failed"], *columns, who)


def _columns(failure: Failure) -> tuple[object, ...]:
    culprit = failure.culprit
    return (
        failure.taken.id,
        culprit.reason,
        text(culprit.detail, _DETAIL_CHARS),
        orjson.dumps(culprit.waits_for).decode(),
        failure.taken.lease,
        culprit.workspace_id,
    )


def _taken(row: DatabaseRecord) -> LeasedEntries:
    return LeasedEntries(
        id=row["id"],
        delivery=Delivery(
            Entry(*(row[name] for name in ENTRY_COLUMNS)), row["payload"]
        ),
        reason=row["reason"],
        tries=row["tries"],
        lease=row["redrive_at"],
    )
