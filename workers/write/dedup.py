"""Which of several events with one dedupe key has the row. Imported by `write`.

The least rank wins: earliest event time, then id, then digest. A holder may be displaced by
an attempt that arrives later but happened earlier, so any order ends the same.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

from workers.model.batch import TransientError
from workers.model.rows import Rank, Row
from workers.postgres.database import Connection
from workers.postgres.sql import statements

_SQL: Final = statements("write/dedup")

#: For how long an idempotency key means the same event; leads and sales claim for good.
KEPT: Final = timedelta(days=30)

_Key = tuple[UUID, str, bytes]
_Fate = Literal["stands", "displaces", "succeeds", "repeats"]


@dataclass(slots=True)
class DedupResult:
    """How the rows of a batch fared against their claims."""

    #: Rows that may have the row of their event, as far as claims go.
    contenders: list[Row]
    #: Rows that are another event's repeat, with the id of the one that won.
    losers: dict[UUID, UUID] = field(default_factory=dict)
    lost: list[Row] = field(default_factory=list)
    #: Ids that held a claim until now, with the id that holds it instead.
    displaced: dict[UUID, UUID] = field(default_factory=dict)

    @property
    def aliases(self) -> frozenset[UUID]:
        """All ids that stand for another event, or have others stand for them."""
        standing_in = self.losers | self.displaced
        return frozenset({*standing_in.keys(), *standing_in.values()})


async def claim_keys(connection: Connection, rows: Sequence[Row]) -> DedupResult:
    """Claim for every row that has a dedupe key; locks the claims in the order of keys.

    Raises TransientError where a claim was swept away between claiming and locking.
    """
    result = DedupResult([row for row in rows if row.envelope.request.dedupe is None])
    groups = _grouped(rows)
    if not groups:
        return result
    holders, detached = await _claim(connection, groups)
    moved: dict[_Key, Row] = {}
    for key, group in groups.items():
        holder = holders.get(key, group[0].rank)
        for row in group:
            fate = _judge(row, holder, detached)
            if fate == "repeats":
                result.lost.append(row)
                result.losers[row.id] = holder.id
                continue
            result.contenders.append(row)
            if fate == "stands":
                continue
            if fate == "displaces" and row.id != holder.id:
                result.displaced[holder.id] = row.id
            moved[key], holder = row, row.rank
    if moved:
        await connection.execute(_SQL["claims_move"], *_claim_columns(moved))
    await _alias(connection, result)
    return result


def _judge(row: Row, holder: Rank, detached: frozenset[UUID]) -> _Fate:
    """How a row fares against the holder of its claim. One that is detached keeps it.

    An idempotency key means one event for a time. What happened further apart are two, of
    which the later one has the key from then on. So the order in which attempts come does
    not matter as long as they all happened within that time.
    """
    if row.rank == holder:
        return "stands"
    is_for_good = (
        row.envelope.request.dedupe is None or row.envelope.request.dedupe.is_for_good
    )
    if not is_for_good and abs(row.at - holder.at) >= KEPT and row.id != holder.id:
        return "succeeds" if row.at > holder.at else "stands"
    if row.rank < holder and holder.id not in detached:
        return "displaces"
    return "stands" if row.id == holder.id else "repeats"


async def _claim(
    connection: Connection, groups: dict[_Key, list[Row]]
) -> tuple[dict[_Key, Rank], frozenset[UUID]]:
    """Claim the free keys for their best rows.

    The ranks of those that hold the others; which of them have a row that is detached.
    """
    best = {key: groups[key][0] for key in sorted(groups)}
    added = await connection.fetch(_SQL["claims_add"], *_claim_columns(best))
    taken = sorted(best.keys() - {tuple(record) for record in added})
    if not taken:
        return {}, frozenset()
    held = await connection.fetch(
        _SQL["claims_lock"], *(list(part) for part in zip(*taken, strict=True))
    )
    if len(held) < len(taken):
        raise TransientError("claims expired while they were asked for")
    holders = {
        (record["workspace_id"], record["scope"], record["key"]): Rank(
            record["at"], record["event_id"], record["digest"]
        )
        for record in held
    }
    detached = {record["event_id"] for record in held if record["is_detached"]}
    return holders, frozenset(detached)


async def _alias(connection: Connection, result: DedupResult) -> None:
    """Let losing ids resolve to the winner, and winning ids to themselves."""
    aliases = result.losers | result.displaced
    if aliases:
        losing = sorted(aliases)
        await connection.execute(
            _SQL["aliases_put"], losing, [aliases[event_id] for event_id in losing]
        )
    if result.displaced:
        former = sorted(result.displaced)
        await connection.execute(
            _SQL["aliases_move"], former, [result.displaced[item] for item in former]
        )


def _grouped(rows: Iterable[Row]) -> dict[_Key, list[Row]]:
    """The rows with dedupe keys by their keys, those of least rank first."""
    groups: dict[_Key, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.rank):
        if row.envelope.request.dedupe is not None:
            groups[
                row.place.workspace_id,
                row.envelope.request.dedupe.scope,
                row.envelope.request.dedupe.key,
            ].append(row)
    return groups


def _claim_columns(claims: dict[_Key, Row]) -> list[list[object]]:
    return [
        [key[0] for key in claims],
        [key[1] for key in claims],
        [key[2] for key in claims],
        [row.id for row in claims.values()],
        [row.at for row in claims.values()],
        [row.rank.digest for row in claims.values()],
        [_expiry(row) for row in claims.values()],
    ]


def _expiry(row: Row) -> datetime | None:
    return (
        None
        if row.envelope.request.dedupe and row.envelope.request.dedupe.is_for_good
        else row.at + KEPT
    )
