"""Marks entries of quarantine, leases marked ones, and stores the outcome of their redrive.

Entries are marked when the link, key or click that they wait for was created; each run does a
bounded amount of work. A lease only avoids double work. Correctness rests on the entry's row lock and status in the
transaction that records it.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import orjson

from ingest.contracts.storable import text
from workers.model.batch import Delivery, Reason, RejectedEntry
from workers.model.rows import DatabaseRecord, entry_of
from workers.postgres.database import Connection, Pool, columns, fetch, transaction
from workers.postgres.sql import statements

_SQL: Final = statements("redrive/redrive")
_RESOLVE: Final = statements("resolve/lookups")
_DETAIL_CHARS: Final = 500

#: Entries marked, or checked, in one transaction.
_MARK_BATCH: Final = 5000
_CHECK_BATCH: Final = 500
#: Such transactions in a run.
_ROUNDS: Final = 20
#: The longest pause between two checks for a recorded click.
_MAX_PAUSE: Final = timedelta(minutes=1)

#: The topics that are not published, and so have to be polled.
_POLLED: Final = ("event ", "own-click ")

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
class RefusedAgain:
    """An entry that is refused again, and why."""

    leased: LeasedEntry
    rejected: RejectedEntry


async def take(pool: Pool, limit: int) -> list[LeasedEntry]:
    """Lease the next marked entries, or one alone of those that may crash workers.

    Raises TransientError.
    """
    found = await fetch(pool, _SQL["marks_take"], limit, LEASE)
    found = found or await fetch(pool, _SQL["marks_take_suspect"], LEASE)
    return sorted(map(_leased, found), key=lambda leased: leased.id)


async def release(pool: Pool, ids: Collection[int]) -> None:
    """Give up the leases of entries that could not be tried. Raises TransientError."""
    await fetch(pool, _SQL["marks_release"], sorted(ids))


async def postpone(pool: Pool, leased: LeasedEntry, cause: str) -> None:
    """Try an entry again in a minute. Raises TransientError."""
    detail = text(f"could not be tried: {cause}", _DETAIL_CHARS)
    put_off = leased.id, leased.lease, detail, _BUG_RETRY
    await fetch(pool, _SQL["marks_put_off"], *put_off)


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
    connection: Connection, page: Iterable[RefusedAgain], who: str
) -> None:
    """Store why entries are refused again."""
    if failed := columns(map(_columns, page)):
        await connection.execute(_SQL["marks_failed"], *failed, who)


def _columns(failure: RefusedAgain) -> tuple[object, ...]:
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


async def mark_woken(pool: Pool) -> int:
    """Mark entries that wait for published changes; how many. Raises TransientError."""
    total = 0
    for _ in range(_ROUNDS):
        async with transaction(pool) as connection:
            wake = await connection.fetchrow(_SQL["wakes_next"])
            if wake is None:
                break
            marked = await connection.fetchrow(
                _SQL["wake_mark"], wake["ref"], wake["reached"], _MARK_BATCH
            )
            count: int = marked["count"] if marked else 0
            if marked and count == _MARK_BATCH:
                await connection.execute(
                    _SQL["wake_reached"], wake["seq"], marked["reached"]
                )
            else:
                await connection.execute(_SQL["wake_done"], wake["seq"])
            total += count
    return total


async def check_due(pool: Pool) -> int:
    """Check due entries, and mark those whose reference exists; how many.

    Raises TransientError.
    """
    total = 0
    for _ in range(_ROUNDS):
        async with transaction(pool) as connection:
            due = await connection.fetch(_SQL["looks_due"], _CHECK_BATCH)
            total += await _check(connection, due)
        if len(due) < _CHECK_BATCH:
            break
    return total


async def _check(connection: Connection, due: Sequence[DatabaseRecord]) -> int:
    if not due:
        return 0
    waits = {row["id"]: set[str](row["waits_for"]) for row in due}
    existing = await _existing(
        connection, {ref for refs in waits.values() for ref in refs}
    )
    found = [entry for entry, refs in waits.items() if refs & existing]
    others = waits.keys() - set(found)
    polled = [
        entry
        for entry in others
        if any(ref.startswith(_POLLED) for ref in waits[entry])
    ]
    await connection.execute(_SQL["looks_found"], found)
    await connection.execute(_SQL["looks_again"], polled, _MAX_PAUSE)
    await connection.execute(_SQL["looks_over"], sorted(others - set(polled)))
    return len(found)


async def _existing(connection: Connection, refs: Iterable[str]) -> set[str]:
    """The references that exist."""
    by_topic: dict[str, list[str]] = defaultdict(list)
    for ref in sorted(refs):
        topic, _, name = ref.partition(" ")
        by_topic[topic].append(name)
    existing: set[str] = set()
    for topic, names in by_topic.items():
        statement, columns, name_of = _TOPICS[topic]
        rows = await connection.fetch(_RESOLVE[statement], *columns(names))
        existing.update(f"{topic} {name_of(row)}" for row in rows)
    return existing


def _pairs(names: Sequence[str]) -> tuple[object, ...]:
    pairs = [name.partition(" ") for name in names]
    return [first for first, _, _ in pairs], [second for _, _, second in pairs]


def _keys_of_owners(names: Sequence[str]) -> tuple[object, ...]:
    pairs = [name.partition(" ") for name in names]
    return [first for first, _, _ in pairs], [
        bytes.fromhex(second) for _, _, second in pairs
    ]


_TOPICS: Final[
    Mapping[
        str,
        tuple[str, Callable[[Sequence[str]], tuple[object, ...]], Callable[[Any], str]],
    ]
] = {
    "code": ("links_by_code", _pairs, lambda row: f"{row['namespace']} {row['code']}"),
    "link": (
        "links_by_id",
        lambda ids: ([*map(UUID, ids)],),
        lambda row: str(row["link_id"]),
    ),
    "click": (
        "clicks_by_token",
        _pairs,
        lambda row: f"{row['workspace_id']} {row['token']}",
    ),
    "key": (
        "keys_by_hash",
        lambda keys: ([*map(bytes.fromhex, keys)],),
        lambda row: row["key_hash"].hex(),
    ),
    "own-click": (
        "clicks_by_own_id",
        _keys_of_owners,
        lambda row: f"{row['workspace_id']} {row['key'].hex()}",
    ),
    "event": (
        "clicks_recorded",
        lambda ids: ([*map(UUID, ids)],),
        lambda row: str(row["click_id"]),
    ),
}
