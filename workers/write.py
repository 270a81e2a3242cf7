"""One batch, one transaction. Imported by the pipeline.

    identify → claim → insert → introduce → lock → replace → learn → attribute → count → award
    → keep tokens → note

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

from workers import awards, changes, claiming, customers, tokens
from workers.counters import Deltas
from workers.database import Connection
from workers.ledger import Shard, Tally, shard_of
from workers.rows import COLUMNS, Row, Standing
from workers.sql import statements

_SQL: Final = statements("events")


@dataclass(slots=True)
class _Fates:
    """What is to become of the rows of a batch."""

    #: Rows that stand now.
    standing: list[Row] = field(default_factory=list)
    #: Rows that came earlier than what stood under their id when they were compared.
    contesting: dict[UUID, Row] = field(default_factory=dict)
    repeats: list[Row] = field(default_factory=list)
    #: Ids that lost their claim and whose rows have to go.
    displaced: list[UUID] = field(default_factory=list)

    @property
    def heard(self) -> list[Row]:
        """All rows but those of entries that were recorded before."""
        return [*self.standing, *self.contesting.values(), *self.repeats]


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
    fates = await _insert(connection, contest)
    heard = fates.heard
    fresh = await customers.introduce(connection, heard)
    going = await _standing(connection, [*fates.displaced, *fates.contesting])
    about = customers.concern(heard, going, fresh, contest.aliases)
    deltas, gone = Deltas(), list[Standing]()
    if about.ids or going:
        about = await customers.lock(connection, about, wider)
        gone = await _replace(connection, fates, about.ids)
        await customers.learn(connection, heard, fresh)
    deltas.take(gone)
    deltas.put(fates.standing)
    deltas.clicked(heard)
    if about.ids:
        await customers.attribute(connection, about, deltas)
    await deltas.apply(connection)
    await awards.give(connection, deltas.led)
    await tokens.keep(connection, heard)
    await changes.note(connection, heard, about, deltas.links)
    await _tally(connection, fates, gone, tally)


async def _insert(connection: Connection, contest: claiming.Contest) -> _Fates:
    """Insert the least rank of every id; see how the rest compare with what stands."""
    fates = _Fates(repeats=contest.lost, displaced=list(contest.displaced))
    groups: dict[UUID, list[Row]] = defaultdict(list)
    for row in sorted(contest.contenders, key=lambda row: (row.rank, row.entry)):
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
            fates.contesting[old.id] = others.pop(0)
        fates.repeats += others
    return fates


async def _standing(connection: Connection, ids: Sequence[UUID]) -> list[Standing]:
    if not ids:
        return []
    records = await connection.fetch(_SQL["events_standing"], ids)
    return [Standing.of(record) for record in records]


async def _replace(
    connection: Connection, fates: _Fates, locked: frozenset[UUID]
) -> list[Standing]:
    """Take away what has to go and put in what came earlier; what went, as it last stood.

    Compared anew under the locks: another writer may have put in something earlier still,
    and a lead may have been attributed since.
    """
    contesting, fates.contesting = fates.contesting, {}
    if not contesting and not fates.displaced:
        return []
    await connection.execute(_SQL["events_contest"], sorted(contesting))
    gone = await _standing(connection, fates.displaced)
    for old in await _standing(connection, list(contesting)):
        row = contesting.pop(old.id)
        if row.rank < old.rank:
            fates.standing.append(row)
            gone.append(old)
        elif row.entry != old.entry:
            fates.repeats.append(row)
    fates.repeats += contesting.values()
    people = {person for old in gone for person in (old.root_id, old.customer_id)}
    if not people - {None} <= locked:
        raise customers.Widen(locked | {person for person in people if person})
    await connection.execute(_SQL["events_remove"], [old.id for old in gone])
    earlier = [row for row in fates.standing if row.id in {old.id for old in gone}]
    if earlier:
        await connection.fetch(_SQL["events_add"], *_columns(earlier))
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
    for row in fates.standing:
        tally.recorded[shard_of(row.entry)] += 1
    for old in gone:
        tally.recorded[shard_of(old.entry)] -= 1


def _columns(rows: Iterable[Row]) -> list[list[object]]:
    ordered = list(rows)
    entries = [list(part) for part in zip(*(row.entry for row in ordered), strict=True)]
    return entries + [[getattr(row, name) for row in ordered] for name in COLUMNS]
