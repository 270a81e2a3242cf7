"""The repair behind `reftide reconcile`: counters become the sums of their rows, under traffic.

A worker changes rows and counters in one transaction. So in every snapshot of the database
what a counter lacks of its sum is the same, whatever workers commit before or after: they
add to both. That difference is found in one snapshot and then *added*, as workers add:
with the row locked, in the order of keys, and in a transaction that locks rows of one table
only. No increment is lost, no worker is waited for in a circle, and none waits while the
sums are made.

Two concurrent repairs would both add the same; an advisory lock prevents that.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final
from uuid import UUID

from scripts.environment import Environment
from scripts.errors import UsageProblem
from scripts.locking import alone
from scripts.servers import Connection, postgres, rows
from scripts.sql import statements
from workers.counters.rule import (
    LINKS,
    TABLES,
    CounterTable,
    addition,
    arguments,
    comparison,
)

_SQL: Final = statements("services/recover/reconcile")
#: Sums over all events of a large installation take their time.
_SECONDS: Final = 1800.0
#: So many rows in one transaction, so that workers do not wait long for one of them.
_AT_ONCE: Final = 500
#: So many are listed; all are repaired.
_SHOWN: Final = 1000


#: How a key's parts are read, by their types.
_PARSERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "uuid": UUID,
    "date": date.fromisoformat,
    "text": str,
}

#: The rows of each table that are not as they must be.
_Found = dict[str, list[dict[str, Any]]]


async def reconcile(environment: Environment, *, dry_run: bool) -> dict[str, Any]:
    """Repair the counters, and look again; the report.

    `repaired` (with `dry_run` `found`) has a row for every counter that was wrong: what it
    is of, its key, what was expected and found. `left` has those that are wrong still: they
    belong to a link or an enrolment that is gone, or another process wrote to them.
    Raises UsageProblem where another repairs, and Unreachable.
    """
    problem = UsageProblem(
        "Another `reftide reconcile` is at work.", "wait until it has ended."
    )
    async with (
        alone(environment, _SQL["alone"], otherwise=problem) as lock,
        postgres(environment, seconds=_SECONDS) as connection,
    ):
        wrong = await _compare(connection)
        if dry_run:
            return {"dry_run": True, **_listed("found", wrong)}
        for table in TABLES:
            known = [row for row in wrong[table.name] if row["is_known"]]
            for at in range(0, len(known), _AT_ONCE):
                # Two repairs would both add the same.
                await lock.execute("select")
                await _add(connection, table, known[at : at + _AT_ONCE])
        left = await _compare(connection) if any(wrong.values()) else wrong
        return {
            "dry_run": False,
            **_listed("repaired", _without(wrong, left)),
            **_listed("left", left),
        }


async def _compare(connection: Connection) -> _Found:
    # One snapshot, or a difference would be of two moments.
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return {
            table.name: await rows(connection, comparison(table)) for table in TABLES
        }


async def _add(
    connection: Connection, table: CounterTable, wrong: Sequence[dict[str, Any]]
) -> None:
    """Add what is missing, in one transaction that writes to one table."""
    changes = [(_key(table, row["key"]), _missing(row)) for row in wrong]
    values = arguments(table, changes)
    if table is LINKS:
        # When a link was last clicked is no sum: it stays.
        values.append([None] * len(wrong))
    await connection.execute(addition(table), *values)


def _key(table: CounterTable, texts: Sequence[str]) -> tuple[Any, ...]:
    pairs = zip(table.key.values(), texts, strict=True)
    return tuple(_PARSERS[name](text) for name, text in pairs)


def _missing(row: dict[str, Any]) -> list[int]:
    pairs = zip(row["expected"], row["found"], strict=True)
    return [expected - found for expected, found in pairs]


def _without(wrong: _Found, left: _Found) -> _Found:
    """What is wrong no more."""
    still = {name: {row["name"] for row in rows} for name, rows in left.items()}
    return {
        name: [row for row in rows if row["name"] not in still[name]]
        for name, rows in wrong.items()
    }


def _listed(title: str, found: _Found) -> dict[str, Any]:
    """A row for every counter that is wrong, the first thousand, and how many there are."""
    every = [
        difference
        for table in TABLES
        for row in found[table.name]
        for difference in _differences(table, row)
    ]
    return {title: every[:_SHOWN], f"{title}_count": len(every)}


def _differences(table: CounterTable, row: dict[str, Any]) -> Iterable[dict[str, Any]]:
    for name, expected, found in zip(
        table.counters, row["expected"], row["found"], strict=True
    ):
        if expected != found:
            yield {
                "what": table.what,
                "key": row["name"],
                "counter": name,
                "expected": expected,
                "found": found,
            }
