"""Marks entries of quarantine whose missing link, key or click was created.

Each run does a bounded amount of work.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from workers.model.rows import DatabaseRecord
from workers.postgres.database import Connection, Pool, transaction
from workers.postgres.sql import statements

_SQL: Final = statements("redrive/redrive")
_RESOLVE: Final = statements("resolve/lookups")

#: Entries marked, or checked, in one transaction.
_MARK_BATCH: Final = 5000
_CHECK_BATCH: Final = 500
#: Such transactions in a run.
_ROUNDS: Final = 20
#: The longest pause between two checks for a recorded click.
_MAX_PAUSE: Final = timedelta(minutes=1)

#: The topic that is not published, and so has to be polled.
_POLLED: Final = "event"


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
    polled = [entry for entry in others if any(map(_is_polled, waits[entry]))]
    await connection.execute(_SQL["looks_found"], found)
    await connection.execute(_SQL["looks_again"], polled, _MAX_PAUSE)
    await connection.execute(_SQL["looks_over"], sorted(others - set(polled)))
    return len(found)


def _is_polled(ref: str) -> bool:
    return ref.partition(" ")[0] == _POLLED


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


def _ids(names: Sequence[str]) -> tuple[object, ...]:
    return ([UUID(name) for name in names],)


def _hashes(names: Sequence[str]) -> tuple[object, ...]:
    return ([bytes.fromhex(name) for name in names],)


def _pairs(names: Sequence[str]) -> tuple[object, ...]:
    pairs = [name.partition(" ") for name in names]
    return [first for first, _, _ in pairs], [second for _, _, second in pairs]


_TOPICS: Final[
    Mapping[
        str,
        tuple[str, Callable[[Sequence[str]], tuple[object, ...]], Callable[[Any], str]],
    ]
] = {
    "code": ("links_by_code", _pairs, lambda row: f"{row['namespace']} {row['code']}"),
    "link": ("links_by_id", _ids, lambda row: str(row["link_id"])),
    "click": (
        "clicks_by_token",
        _pairs,
        lambda row: f"{row['workspace_id']} {row['token']}",
    ),
    "key": ("keys_by_hash", _hashes, lambda row: row["key_hash"].hex()),
    _POLLED: ("clicks_recorded", _ids, lambda row: str(row["click_id"])),
}
