"""Detaches months of events, and attaches them again.

    close → fold → detach          attach → unfold

A *closed* month changes no more: a trigger refuses writes, and workers leave alone what rests
on it. Then one transaction *folds* it: it stores what the rows add to the counters and to the
ledger. From that commit on, the sums leave the rows out and take what is stored. No sum
depends on where the table stands, so detaching it, which cannot be part of a transaction, may
fail half-way. Attaching goes the same way back: first the table, then one transaction that
deletes what was stored.

A process that dies between two steps leaves a month that counts once; the same command
continues. Months are detached from the oldest on and attached from the latest on, so that one
moment divides what may change from what may not: the horizon.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import asyncpg
from redis.asyncio import Redis

from ingest.contracts.directory import DEFAULT_WINDOW_DAYS
from ingest.contracts.stream import EntryId, events_key
from scripts.environment import Environment
from scripts.errors import UsageProblem
from scripts.locking import alone
from scripts.servers import Connection, rows, single
from scripts.sql import statements
from workers.facets import facets
from workers.write.dedup import KEPT

_SQL: Final = statements("services/maintain/partitions")
#: A worker may hold the locks for a moment.
_ATTEMPTS: Final = 5
#: The time-out of a statement: sums over a month of a large installation take long.
SECONDS: Final = 3600.0

Step = Literal["closed", "folded", "detached", "attached"]
State = Literal["attached", "closed", "folded", "detached", "gone", "by hand"]


@dataclass(frozen=True, slots=True)
class Month:
    """A month of events, by the time in the ids: from `since` until before `until`.

    `folded`: its stored counts hold, and it is still attached. `gone`: the table was dropped.
    `by hand`: it was detached without storing its counts.
    """

    name: str
    since: datetime
    until: datetime
    state: State
    is_attached: bool
    #: A process began to detach it, and died.
    is_half: bool
    events: int
    bytes: int | None


async def months(connection: Connection) -> list[Month]:
    """All there are, oldest first."""
    return [Month(**row) for row in await rows(connection, _SQL["list"])]


def claimed(environment: Environment) -> AbstractAsyncContextManager[Connection]:
    """Lock partitions for a block. It raises UsageProblem if they are locked."""
    problem = UsageProblem(
        "Another process moves partitions.", "wait until it has ended."
    )
    return alone(environment, _SQL["alone"], otherwise=problem)


async def may_go(connection: Connection, before: datetime, now: datetime) -> None:
    """Raises UsageProblem if clicks from before that time may still earn leads."""
    window = timedelta(days=await connection.fetchval(_SQL["window"]))
    least = now - max(window, timedelta(days=DEFAULT_WINDOW_DAYS), KEPT)
    if before > least:
        raise UsageProblem(
            f"Clicks from before {before:%Y-%m-%d} may still earn leads, or their"
            " requests be repeated.",
            f"say --before {least:%Y-%m} or earlier, or make attribution windows"
            " shorter: `reftide programs set`.",
        )


async def detach(
    connection: Connection,
    redis: Redis,
    shards: Sequence[int],
    month: Month,
    boundary: Callable[[Step], None] = lambda _: None,
) -> int:
    """Detach a month, from any step; how many events it has.

    `boundary` is told of every step. Raises UsageProblem where streams still hold entries of it.
    """
    if month.state == "by hand":
        raise UsageProblem(
            f"{month.name} was detached by hand, and what it counts was not kept.",
            f"attach it first: `reftide partitions attach --from {month.since:%Y-%m}`.",
        )
    span = (month.since, month.until)
    if month.state in {"attached", "closed"}:
        await _patiently(connection, _SQL["close"], month.name, *span)
        boundary("closed")
        await _require_unread_by_nobody(connection, redis, shards, month)
        await _fold(connection, month)
        boundary("folded")
    if month.is_half:
        await connection.execute(
            f"alter table events detach partition {month.name} finalize"
        )
    elif month.is_attached:
        await connection.execute(
            f"alter table events detach partition {month.name} concurrently"
        )
    boundary("detached")
    return await _events(connection, month.name)


async def attach(
    connection: Connection,
    month: Month,
    boundary: Callable[[Step], None] = lambda _: None,
) -> None:
    """Attach a month, from any step. Raises UsageProblem if its table is gone."""
    if month.state == "gone":
        raise UsageProblem(
            f"The table {month.name} is gone.", "restore it, then attach it."
        )
    if month.is_half:
        await connection.execute(
            f"alter table events detach partition {month.name} finalize"
        )
    if not month.is_attached:
        await _align(connection, month.name)
        ids = await single(connection, _SQL["bounds"], month.since, month.until)
        await connection.execute(
            f"alter table events attach partition {month.name}"
            f" for values from ('{ids['low']}') to ('{ids['high']}')"
        )
        boundary("attached")
    async with connection.transaction():
        await connection.execute(_SQL["stats_changed"], month.since, month.until)
        await connection.execute(_SQL["unfold"], month.name)
        await connection.execute(_SQL["mark"], month.since, month.until)


async def _fold(connection: Connection, month: Month) -> None:
    span = (month.since, month.until)
    async with connection.transaction():
        # The last time that its rows are there for it.
        await facets.make_all(connection, *span)
        if not await connection.fetchval(_SQL["fold_begin"], month.name):
            return
        await connection.execute(_SQL["fold_shares"], month.name, *span)
        await connection.execute(_SQL["fold_ledger"], month.name, *span)
        await connection.execute(_SQL["stats_changed"], *span)
        await connection.execute(_SQL["fold_end"], month.name)


async def _require_unread_by_nobody(
    connection: Connection, redis: Redis, shards: Sequence[int], month: Month
) -> None:
    """Raises UsageProblem where a stream holds an entry of the month; then it is open again.

    Delivered again, it could not be told from a new one.
    """
    last = await connection.fetchval(_SQL["last_entry"], month.since, month.until)
    for shard in shards:
        first = await redis.xrange(events_key(shard), count=1)
        if first and EntryId.of(first[0][0]).ms <= last:
            await connection.execute(_SQL["reopen"], month.name)
            raise UsageProblem(
                f"The streams may still hold events of {month.name}: the last of them"
                f" arrived on {_moment(last):%Y-%m-%d %H:%M} UTC.",
                "try again when they are trimmed, REFTIDE_STREAM_KEEP_HOURS later.",
            )


async def _align(connection: Connection, name: str) -> None:
    """Give a table that was detached the columns that events have got since."""
    for column in await rows(connection, _SQL["lacking"], name):
        if not column["is_missing"]:
            change = f"alter column {column['name']} type {column['type']}"
        else:
            default = column["fallback"] and f" default {column['fallback']}"
            needed = " not null" if column["is_needed"] else ""
            change = (
                f"add column {column['name']} {column['type']}{default or ''}{needed}"
            )
        await connection.execute(f"alter table {name} {change}")


async def _patiently(connection: Connection, statement: str, *values: object) -> None:
    """Try again after a deadlock or a lock timeout."""
    for left in reversed(range(_ATTEMPTS)):
        try:
            await connection.execute(statement, *values)
        except (asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError):
            if not left:
                raise
        else:
            return


async def _events(connection: Connection, name: str) -> int:
    [month] = [each for each in await months(connection) if each.name == name]
    return month.events


def _moment(unix_ms: int) -> datetime:
    return datetime.fromtimestamp(unix_ms / 1000, UTC)


def horizon(found: Sequence[Month]) -> datetime | None:
    """Until when nothing of the months may change; None where all of them may."""
    return max((m.until for m in found if m.state != "attached"), default=None)


def as_row(month: Month) -> dict[str, Any]:
    """As `reftide partitions list` shows it."""
    return {
        "month": f"{month.since:%Y-%m}",
        "partition": month.name,
        "state": month.state,
        "events": month.events,
        "bytes": month.bytes,
    }
