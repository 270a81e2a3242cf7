"""Decides which of several events with one dedupe key has the row.

The least rank wins: with an API key before without, then the earliest event time, id and
digest. An attempt that arrives later but ranks before the holder of the claim displaces it,
so any order ends the same.

A lead without an API key claims apart from those with one: it stays as a row, since it may
connect its customer with a click. Which of the two counts, `keyless` decides.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

from ingest.contracts.envelope import KEYLESS_LEAD_SCOPE, LEAD_SCOPE, Dedupe
from workers.model.batch import TransientError
from workers.model.rows import Rank, Row
from workers.postgres.database import Connection, columns
from workers.postgres.sql import statements

_SQL: Final = statements("write/dedup")

#: For how long an idempotency key means the same event; leads and sales claim for good.
KEPT: Final = timedelta(days=30)

_Key = tuple[UUID, str, bytes]
#: What becomes of a row: it keeps its claim, takes it from an earlier arrival, takes an expired
#: one over, or repeats the event that holds it.
_Verdict = Literal["keeps", "displaces", "succeeds", "repeats"]


@dataclass(slots=True)
class DedupResult:
    """What the claims say of the rows of a batch."""

    #: Rows that hold their claim, or have none: they may be recorded.
    contenders: list[Row]
    #: The ids of repeats, with the id of the event that each repeats; and the rows.
    losers: dict[UUID, UUID] = field(default_factory=dict)
    lost: list[Row] = field(default_factory=list)
    #: Ids that held a claim until now, with the id that holds it instead.
    displaced: dict[UUID, UUID] = field(default_factory=dict)

    @property
    def aliases(self) -> frozenset[UUID]:
        """The ids that became an alias of another event, and those events' ids."""
        alias_of = self.losers | self.displaced
        return frozenset({*alias_of.keys(), *alias_of.values()})


async def claim_keys(connection: Connection, rows: Sequence[Row]) -> DedupResult:
    """Claim the dedupe key of every row that has one; locks the claims in the order of keys.

    Raises TransientError where a claim expired between claiming and locking.
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
            verdict = _judge(row, holder, detached)
            if verdict == "repeats":
                result.lost.append(row)
                result.losers[row.id] = holder.id
                continue
            result.contenders.append(row)
            if verdict == "keeps":
                continue
            if verdict == "displaces" and row.id != holder.id:
                result.displaced[holder.id] = row.id
            moved[key], holder = row, row.rank
    if moved:
        await connection.execute(_SQL["claims_move"], *_claim_columns(moved))
    await _alias(connection, result)
    return result


def _judge(row: Row, holder: Rank, detached: frozenset[UUID]) -> _Verdict:
    """Compare a row with the holder of its claim. A holder in a detached month keeps it.

    An idempotency key means one event for a time. Two events further apart than that are two
    events, and the later one has the key from then on. So the order of arrival does not
    matter as long as all attempts happened within that time.
    """
    if row.rank == holder:
        return "keeps"
    dedupe = row.envelope.request.dedupe
    is_for_good = dedupe is None or dedupe.is_for_good
    if not is_for_good and abs(row.at - holder.at) >= KEPT and row.id != holder.id:
        return "succeeds" if row.at > holder.at else "keeps"
    if row.rank < holder and holder.id not in detached:
        return "displaces"
    return "keeps" if row.id == holder.id else "repeats"


async def _claim(
    connection: Connection, groups: dict[_Key, list[Row]]
) -> tuple[dict[_Key, Rank], frozenset[UUID]]:
    """Claim the free keys for their rows of least rank.

    Returns the ranks that hold the other keys, and which holders are in detached months.
    """
    best = {key: groups[key][0] for key in sorted(groups)}
    added = await connection.fetch(_SQL["claims_add"], *_claim_columns(best))
    taken = sorted(best.keys() - {tuple(record) for record in added})
    if not taken:
        return {}, frozenset()
    held = await connection.fetch(_SQL["claims_lock"], *columns(taken))
    if len(held) < len(taken):
        raise TransientError("claims expired while they were asked for")
    holders = {
        (record["workspace_id"], record["scope"], record["key"]): Rank(
            record["is_keyless"], record["at"], record["event_id"], record["digest"]
        )
        for record in held
    }
    detached = {record["event_id"] for record in held if record["is_detached"]}
    return holders, frozenset(detached)


async def _alias(connection: Connection, result: DedupResult) -> None:
    """Make losing ids aliases of the winners; a winner is no alias."""
    aliases = result.losers | result.displaced
    if aliases:
        pairs = columns(sorted(aliases.items()))
        await connection.execute(_SQL["aliases_put"], *pairs)
    if result.displaced:
        pairs = columns(sorted(result.displaced.items()))
        await connection.execute(_SQL["aliases_move"], *pairs)


def _grouped(rows: Iterable[Row]) -> dict[_Key, list[Row]]:
    """The rows with dedupe keys by their keys, those of least rank first."""
    groups: dict[_Key, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.rank):
        if (dedupe := row.envelope.request.dedupe) is not None:
            groups[row.place.workspace_id, _scope(row, dedupe), dedupe.key].append(row)
    return groups


def _scope(row: Row, dedupe: Dedupe) -> str:
    """The scope of a row's claim; a former edge's lead without a key says only `lead`."""
    is_keyless_lead = dedupe.scope == LEAD_SCOPE and row.rank.is_keyless
    return KEYLESS_LEAD_SCOPE if is_keyless_lead else dedupe.scope


def _claim_columns(claims: dict[_Key, Row]) -> list[list[object]]:
    return columns(
        (*key, row.id, row.rank.is_keyless, row.at, row.rank.digest, _expiry(row))
        for key, row in claims.items()
    )


def _expiry(row: Row) -> datetime | None:
    dedupe = row.envelope.request.dedupe
    return None if dedupe and dedupe.is_for_good else row.at + KEPT
