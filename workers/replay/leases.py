"""Leases and cursors of replays, in PostgreSQL.

A part is one shard of one replay. When a lease expires, the next worker continues after the
last committed page.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal, NamedTuple
from uuid import UUID

from workers.model.batch import TransientError
from workers.postgres.database import Connection, Pool, fetch
from workers.postgres.sql import statements
from workers.replay.archive_pages import NO_DAMAGE, Damage
from workers.replay.request import ReplayRequest
from workers.replay.scope import Scope, load_scope
from workers.replay.sources import Cursor

_SQL: Final = statements("replay/replays")

#: Longer than a page takes, and short enough that a dead worker's part soon continues.
LEASE: Final = timedelta(seconds=15)

Mode = Literal["missing", "reprocess"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A leased shard of a replay; `cursor` is None before its first page.

    `wait` is the seconds to wait first, by the replay's rate.
    """

    replay_id: UUID
    shard: int
    holder: UUID
    mode: Mode
    request: ReplayRequest
    scope: Scope
    cursor: Cursor | None
    wait: float = 0.0


class Counts(NamedTuple):
    """The events of a page by outcome; `scanned` is the sum of the others."""

    scanned: int = 0
    inserted: int = 0
    changed: int = 0
    unchanged: int = 0
    quarantined: int = 0
    refused: int = 0


class Step(NamedTuple):
    """The progress of one page; `cursor` is None after the last page."""

    cursor: Cursor | None
    read: int = 0
    expected: int = 0
    damage: Damage = NO_DAMAGE


class RunningReplay(NamedTuple):
    """Whether the replay continues, and after how many seconds, by its rate."""

    is_running: bool
    wait: float


class LeaseLost(TransientError):
    """Another worker has the part: roll this page back."""


async def count_free(pool: Pool) -> int:
    """The number of parts without a lease. Raises TransientError."""
    ((count,),) = await fetch(pool, _SQL["parts_free"])
    return int(count)


async def take(pool: Pool, holder: UUID) -> Part | None:
    """Lease a free part; None if there is none. Raises TransientError."""
    found = await fetch(pool, _SQL["part_take"], holder, LEASE)
    if not found:
        return None
    [row] = found
    request = ReplayRequest.decode(row["requested"])
    return Part(
        replay_id=row["replay_id"],
        shard=row["shard"],
        holder=holder,
        mode=row["mode"],
        request=request,
        scope=await load_scope(pool, request),
        cursor=row["cursor"] and Cursor.decode(row["cursor"]),
        wait=max(0.0, row["wait"] or 0.0),
    )


async def release(pool: Pool, part: Part) -> None:
    """Give up a part's lease. Raises TransientError."""
    await fetch(pool, _SQL["part_release"], part.replay_id, part.shard, part.holder)


async def pause(pool: Pool, part: Part) -> None:
    """Pause the replay until an operator resumes it. Raises TransientError."""
    await fetch(pool, _SQL["replay_pause"], part.replay_id)


async def advance(
    connection: Connection, part: Part, counts: Counts, step: Step
) -> RunningReplay:
    """Move the cursor and add the counts, in the page's transaction.

    Call it last: all parts of a replay update one row. Raises LeaseLost.
    """
    rate = part.request.rate
    pause = timedelta(seconds=counts.scanned / rate if rate else 0)
    replay = await connection.fetchrow(
        _SQL["replay_count"], part.replay_id, *counts, pause, *step.damage
    )
    is_ours = await connection.fetchval(
        _SQL["part_advance"],
        part.replay_id,
        part.shard,
        part.holder,
        step.cursor and step.cursor.encode(),
        step.read,
        step.expected,
        step.cursor is None,
        LEASE,
    )
    if replay is None or not is_ours:
        raise LeaseLost(f"replay {part.replay_id} shard {part.shard}")
    if step.cursor is None:
        await connection.execute(_SQL["replay_finish"], part.replay_id)
    return RunningReplay(replay["status"] == "running", max(0.0, replay["wait"]))
