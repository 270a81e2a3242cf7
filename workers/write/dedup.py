"""Decides which of several events with one dedupe key has the row.

The least rank wins: with an API key before without, then the earliest event time, id and
digest. An attempt that arrives later but ranks before the holder of the claim displaces it,
so any order ends the same.

A lead without an API key claims apart from those with one: it stays as a row, since it may
connect its customer with a click. Which of the two counts, `keyless` decides.

A refund also claims the key of its sale, for nobody, where no sale holds it: so the writers of
a sale and of its refunds wait for one another, and a sale that comes later finds the claim.
A lead that names a click by its client's own id locks the claim of that id as well, and its
name becomes an alias of the holder: a click that displaces the holder takes its aliases over.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

from ingest.contracts.envelope import (
    CLICK,
    KEYLESS_LEAD_SCOPE,
    LEAD_SCOPE,
    OWN_CLICK_SCOPE,
    SALE_SCOPE,
    Dedupe,
    own_click_key,
)
from workers.model.batch import TransientError
from workers.model.rows import LAST_DIGEST, Rank, Row, timestamp
from workers.postgres.database import Connection, columns
from workers.postgres.sql import statements

_SQL: Final = statements("write/dedup")

#: For how long an idempotency key means the same event; leads and sales claim for good.
KEPT: Final = timedelta(days=30)

#: Who holds the claim of a sale that only refunds have named: nobody, behind every event.
_NOBODY: Final = Rank(
    is_keyless=True,
    at=timestamp(253_370_764_799_999),
    id=UUID(int=(1 << 128) - 1),
    digest=LAST_DIGEST,
)

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
    #: The sales that may have refunds, by workspace and key, with the event that was the sale
    #: before this batch, if there was one.
    sales: dict[tuple[UUID, bytes], UUID | None] = field(default_factory=dict)

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
    groups, refunded, named = _grouped(rows), _refunded(rows), _named(rows)
    others = refunded.union(named.values())
    if not groups and not others:
        return result
    holders, detached = await _claim(connection, groups, others)
    result.sales = _sales(refunded, holders)
    moved: dict[_Key, Row] = {}
    for key, group in groups.items():
        holder = holders.setdefault(key, group[0].rank)
        if winner := _settle(group, holder, detached, result):
            moved[key], holders[key] = winner, winner.rank
    if moved:
        await connection.execute(_SQL["claims_move"], *_claim_columns(moved))
    await _alias(connection, result)
    if named:
        await _name(connection, named, holders)
    return result


def _settle(
    group: Sequence[Row], holder: Rank, detached: frozenset[UUID], result: DedupResult
) -> Row | None:
    """Judge the rows of one key; the one that takes the claim from `holder`, if one does."""
    winner: Row | None = None
    for row in group:
        verdict = _judge(row, holder, detached)
        if verdict == "repeats":
            result.lost.append(row)
            result.losers[row.id] = holder.id
            continue
        result.contenders.append(row)
        if verdict == "keeps":
            continue
        if verdict == "displaces" and holder.id not in {row.id, _NOBODY.id}:
            result.displaced[holder.id] = row.id
        winner, holder = row, row.rank
    return winner


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
    connection: Connection, groups: dict[_Key, list[Row]], others: frozenset[_Key]
) -> tuple[dict[_Key, Rank], frozenset[UUID]]:
    """Claim the free keys for their rows of least rank, `others` for nobody.

    Returns the ranks that hold the other keys, and which holders are in detached months.
    """
    best: dict[_Key, Row | None] = {
        key: groups[key][0] if key in groups else None
        for key in sorted(others.union(groups))
    }
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


async def _name(
    connection: Connection, named: Mapping[UUID, _Key], holders: Mapping[_Key, Rank]
) -> None:
    """Make the names of clicks aliases of those that hold the claims; a known name is one."""
    aliases = {name: holders.get(key, _NOBODY).id for name, key in named.items()}
    if _NOBODY.id in aliases.values():
        raise TransientError("a claim expired after its click was looked up")
    await connection.execute(_SQL["aliases_name"], *columns(sorted(aliases.items())))


def _grouped(rows: Iterable[Row]) -> dict[_Key, list[Row]]:
    """The rows with dedupe keys by their keys, those of least rank first."""
    groups: dict[_Key, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.rank):
        if (dedupe := row.envelope.request.dedupe) is not None:
            groups[row.place.workspace_id, _scope(row, dedupe), dedupe.key].append(row)
    return groups


def _refunded(rows: Iterable[Row]) -> frozenset[_Key]:
    """The claims of the sales that refunds name."""
    return frozenset(
        (row.place.workspace_id, SALE_SCOPE, sale_key)
        for row in rows
        if (sale_key := row.envelope.details.sale_key) and not row.event.is_test
    )


def _named(rows: Iterable[Row]) -> dict[UUID, _Key]:
    """What leads call the clicks that have their clients' own ids, and the claims of these."""
    return {
        row.place.click_id: (row.place.workspace_id, OWN_CLICK_SCOPE, key)
        for row in rows
        if row.envelope.click.foreign_id
        and row.event.kind is not CLICK
        and row.place.click_id
        and (key := own_click_key(row.envelope.click.foreign_id))
    }


def _sales(
    refunded: frozenset[_Key], holders: Mapping[_Key, Rank]
) -> dict[tuple[UUID, bytes], UUID | None]:
    found = {key: holders.get(key, _NOBODY).id for key in refunded.union(holders)}
    return {
        (owner, key): None if event_id == _NOBODY.id else event_id
        for (owner, scope, key), event_id in found.items()
        if scope == SALE_SCOPE
    }


def _scope(row: Row, dedupe: Dedupe) -> str:
    """The scope of a row's claim; a former edge's lead without a key says only `lead`."""
    is_keyless_lead = dedupe.scope == LEAD_SCOPE and row.rank.is_keyless
    return KEYLESS_LEAD_SCOPE if is_keyless_lead else dedupe.scope


def _claim_columns(claims: Mapping[_Key, Row | None]) -> list[list[object]]:
    ranked = (
        (key, row.rank if row else _NOBODY, row and _expiry(row))
        for key, row in claims.items()
    )
    return columns(
        (*key, rank.id, rank.is_keyless, rank.at, rank.digest, expiry)
        for key, rank, expiry in ranked
    )


def _expiry(row: Row) -> datetime | None:
    dedupe = row.envelope.request.dedupe
    return None if dedupe and dedupe.is_for_good else row.at + KEPT
