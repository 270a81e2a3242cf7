"""One batch, one transaction. Imported by the pipeline.

    identify → claim → insert → introduce → lock → replace → learn → attribute → count

Locks are taken in this order of steps, and within a step in the order of keys, so writers
never wait for one another in a circle. If the process dies on any line before the commit,
nothing happened and the entries are delivered again; if it dies after it, they are delivered
again and found recorded under the same entry.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from workers import claiming, customers
from workers.counters import Deltas
from workers.database import Connection
from workers.ledger import Shard, Tally, shard_of
from workers.rows import COLUMNS, Row, Standing
from workers.sql import statements

_SQL: Final = statements("events")


@dataclass(slots=True)
class _Fates:
    """What is to become of the rows of a batch, as far as ids and ranks decide it."""

    #: Rows that are to stand in `events`, inserted already or about to replace.
    standing: list[Row] = field(default_factory=list)
    repeats: list[Row] = field(default_factory=list)
    #: Rows that replace what stands under their own id.
    replacing: list[Row] = field(default_factory=list)
    #: What stands and has to go: earlier holders of a claim, and what is replaced.
    gone: list[UUID] = field(default_factory=list)


async def write(
    connection: Connection,
    rows: Sequence[Row],
    tally: Tally,
    *,
    new_id: Callable[[], UUID],
    wider: frozenset[UUID] = frozenset(),
) -> None:
    """Record rows inside the connection's transaction, and add to the tally.

    Raises `customers.Widen` where the transaction has to begin again with wider locks.
    """
    rows = await customers.identify(connection, rows, new_id)
    contest = await claiming.contest(connection, rows)
    fates = await _insert(connection, contest.contenders)
    fates.repeats += contest.lost
    fates.gone += contest.displaced
    heard = fates.standing + fates.replacing + fates.repeats
    fresh = await customers.introduce(connection, heard)
    gone = await _standing(connection, fates.gone)
    aliases = contest.losers | contest.displaced
    about = customers.concern(
        heard, gone, fresh, {*aliases.keys(), *aliases.values()}
    )
    deltas = Deltas()
    if about.ids:
        about = await customers.lock(connection, about, wider)
        gone = await _replace(connection, fates)
        await customers.learn(connection, heard, fresh)
    deltas.take(gone)
    deltas.put(fates.standing + fates.replacing)
    deltas.clicked(heard)
    if about.ids:
        await customers.attribute(connection, about, deltas)
    await deltas.apply(connection)
    await _tally(connection, fates, gone, tally)


async def _insert(connection: Connection, rows: Sequence[Row]) -> _Fates:
    """Insert the least rank of every id; see how the rest compare with what stands."""
    fates = _Fates()
    groups: dict[UUID, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row.rank, row.entry)):
        groups[row.id].append(row)
    if not groups:
        return fates
    best = [group[0] for group in groups.values()]
    added = await connection.fetch(_SQL["events_add"], *_columns(best))
    for event_id in (record["id"] for record in added):
        first, *others = groups.pop(event_id)
        fates.standing.append(first)
        fates.repeats += [row for row in others if row.entry != first.entry]
    for old in await _standing(connection, list(groups)):
        others = [row for row in groups[old.id] if row.entry != old.entry]
        if others and others[0].rank < old.rank:
            fates.replacing.append(others.pop(0))
            fates.gone.append(old.id)
        fates.repeats += others
    return fates


async def _standing(connection: Connection, ids: Sequence[UUID]) -> list[Standing]:
    if not ids:
        return []
    records = await connection.fetch(_SQL["events_standing"], list(ids))
    return [Standing.of(record) for record in records]


async def _replace(connection: Connection, fates: _Fates) -> list[Standing]:
    """Take away what has to go and put in what replaces it; what went, as it last stood.

    Read anew under the locks: a lead may have been attributed since it was compared.
    """
    if not fates.gone:
        return []
    gone = await _standing(connection, fates.gone)
    await connection.execute(_SQL["events_remove"], fates.gone)
    if fates.replacing:
        await connection.fetch(_SQL["events_add"], *_columns(fates.replacing))
    return gone


async def _tally(
    connection: Connection, fates: _Fates, gone: Sequence[Standing], tally: Tally
) -> None:
    """Note the repeats, and count every entry once, however often it is delivered."""
    repeats = [(row.entry, row.id) for row in (*fates.repeats, *gone)]
    if repeats:
        entries = [list(part) for part in zip(*(e for e, _ in repeats), strict=True)]
        ids = [event_id for _, event_id in repeats]
        for record in await connection.fetch(_SQL["repeats_add"], *entries, ids):
            tally.repeats[Shard(record["epoch"], record["shard"])] += 1
    for row in (*fates.standing, *fates.replacing):
        tally.recorded[shard_of(row.entry)] += 1
    for old in gone:
        tally.recorded[shard_of(old.entry)] -= 1


def _columns(rows: Iterable[Row]) -> list[list[object]]:
    ordered = list(rows)
    entries = [list(part) for part in zip(*(row.entry for row in ordered), strict=True)]
    return entries + [[getattr(row, name) for row in ordered] for name in COLUMNS]
