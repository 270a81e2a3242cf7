"""One batch, one transaction. Imported by the pipeline.

    lock visits → identify → claim → flag duplicates → insert → introduce → lock → replace
    → learn → attribute → note → enter into the ledger → count → award → keep tokens

Locks are taken in this order of steps, and within a step in the order of keys, so writers
never wait for one another in a circle. Whoever counts takes rows that others wait for, which
nobody does for a consumer's rows of the ledger: so those come first. If the process dies on any
line before the commit, nothing happened and the entries are delivered again; if it dies after
it, they are delivered again and found recorded under the same entry.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from workers.counters import milestones
from workers.counters.counters import CounterDeltas
from workers.counters.ledger import LedgerDelta, LedgerShard
from workers.model.locks import NO_LOCKS, Locks, LockSetGrew
from workers.model.rows import COLUMNS, Row, StoredRow, values_of
from workers.postgres.database import Connection, copy_rows
from workers.postgres.sql import statements
from workers.visits.cascade import clicks_of, recorded_clicks
from workers.visits.visits import MovedClicks, Visits
from workers.write import click_tokens, customers, dedup, profile_merge, publish_queue
from workers.write.plain_clicks import split_plain

_SQL: Final = statements("write/transaction")


@dataclass(frozen=True, slots=True)
class _WritePlan:
    """What is to become of the rows of a batch."""

    #: Rows that stand now. Those of plain clicks whose visitors nobody has spoken of are by
    #: themselves.
    standing: Sequence[Row] = ()
    plain: Sequence[Row] = ()
    #: Rows that came earlier than what stood under their id when they were compared.
    contesting: Sequence[Row] = ()
    repeats: Sequence[Row] = ()
    #: Ids that lost their claim and whose rows have to go.
    displaced: Sequence[UUID] = ()

    @property
    def going(self) -> list[UUID]:
        """Ids whose rows may have to go."""
        return [*self.displaced, *(row.id for row in self.contesting)]

    @property
    def heard(self) -> list[Row]:
        """All rows but those of entries that were recorded before, and plain ones."""
        return [*self.standing, *self.contesting, *self.repeats]


async def write(
    connection: Connection,
    rows: Sequence[Row],
    tally: LedgerDelta,
    *,
    consumer: str | None,
    new_id: Callable[[], UUID],
    wider: Locks = NO_LOCKS,
) -> None:
    """Record rows, if any, inside the connection's transaction, and enter them in the ledger.

    They are added to the tally, and all of it is entered as the consumer's; None: nowhere, as
    what is written will be undone. The transaction has to begin again where it raises
    `LockSetGrew`, with wider locks, or `database.Raced`.
    """
    deltas, gone = CounterDeltas(), list[StoredRow]()
    visits = await Visits.begun(connection, rows, wider.visits)
    plain, others = split_plain(rows)
    others = await customers.identify(connection, others, new_id)
    contest = await dedup.claim_keys(connection, others)
    fates = await _insert(connection, plain, contest, visits, deltas)
    fresh = await profile_merge.create_anonymous(connection, fates.heard, fates.plain)
    heard = fates.heard
    going = await _standing(connection, fates.going)
    about = customers.lock_set_of(heard, going, fresh, contest.aliases)
    if about.ids or going:
        about = await customers.lock(connection, about, wider.customers)
        fates, gone = await _replace(connection, fates, about.ids, visits, deltas)
        await profile_merge.merge_profiles(connection, heard, fresh)
    _count(deltas, fates, gone)
    if about.ids:
        await customers.attribute(connection, about, deltas)
    await publish_queue.note(connection, [*heard, *fates.plain], about, deltas.links)
    await _tally(connection, fates, gone, tally)
    if consumer is not None:
        await tally.enter(connection, consumer)
    # As late as can be, since others wait for those who count.
    await deltas.apply(connection)
    await milestones.give(connection, deltas.led)
    await click_tokens.keep(connection, heard)


async def _insert(
    connection: Connection,
    plain: Sequence[Row],
    contest: dedup.DedupResult,
    visits: Visits,
    deltas: CounterDeltas,
) -> _WritePlan:
    """Insert the least rank of every id; see how the rest compare with what stands."""
    groups: dict[UUID, list[Row]] = defaultdict(list)
    for row in sorted(contest.contenders, key=lambda row: (row.rank, row.entry)):
        groups[row.id].append(row)
    firsts = [*plain, *(group[0] for group in groups.values())]
    known, people = await _known(connection, firsts)
    new = [row for row in firsts if row.id not in known] if known else firsts
    if flagged := await visits.judge(new, deltas):
        new = [flagged.get(row.id, row) for row in new]
        plain = [flagged.get(row.id, row) for row in plain]
        for event_id in flagged.keys() & groups.keys():
            groups[event_id][0] = flagged[event_id]
    await _add(connection, new)
    standing, contesting, repeats = list[Row](), list[Row](), list(contest.lost)
    for event_id in groups.keys() - known:
        first, *others = groups.pop(event_id)
        standing.append(first)
        repeats += [row for row in others if row.entry != first.entry]
    if known or people:
        groups |= {row.id: [row] for row in plain if row.id in known}
        standing += [row for row in plain if row.id in people - known]
        plain = [row for row in plain if row.id not in people | known]
    for old in await _standing(connection, list(groups)):
        others = [row for row in groups[old.id] if row.entry != old.entry]
        if others and others[0].rank < old.rank:
            contesting.append(others.pop(0))
        repeats += others
    return _WritePlan(standing, plain, contesting, repeats, list(contest.displaced))


async def _known(
    connection: Connection, rows: Sequence[Row]
) -> tuple[set[UUID], set[UUID]]:
    """The ids that have a row already, and those by which a customer is known."""
    found: dict[bool, set[UUID]] = {True: set(), False: set()}
    if rows:
        ids = [row.id for row in rows]
        for record in await connection.fetch(_SQL["events_known"], ids):
            found[record["is_row"]].add(record["id"])
    return found[True], found[False]


async def _add(connection: Connection, rows: list[Row]) -> None:
    """Insert rows whose ids nobody has, in the order of ids. Raises Raced."""
    if rows:
        rows.sort(key=_by_id)
        records = map(values_of, rows)
        await copy_rows(connection, "events", COLUMNS, records, len(rows))


async def _standing(connection: Connection, ids: Sequence[UUID]) -> list[StoredRow]:
    if not ids:
        return []
    records = await connection.fetch(_SQL["events_standing"], ids)
    return [StoredRow.of(record) for record in records]


async def _replace(
    connection: Connection,
    fates: _WritePlan,
    locked: frozenset[UUID],
    visits: Visits,
    deltas: CounterDeltas,
) -> tuple[_WritePlan, list[StoredRow]]:
    """Take away what has to go and put in what came earlier; what went, as it last stood.

    Compared anew under the locks: another writer may have put in something earlier still,
    and a lead may have been attributed since.
    """
    if not fates.contesting and not fates.displaced:
        return fates, []
    contesting = {row.id: row for row in fates.contesting}
    await connection.execute(_SQL["events_contest"], sorted(contesting))
    gone = await _standing(connection, fates.displaced)
    earlier, repeats = list[Row](), list[Row]()
    for old in await _standing(connection, list(contesting)):
        row = contesting.pop(old.id)
        if row.rank < old.rank:
            earlier.append(row)
            gone.append(old)
        elif row.entry != old.entry:
            repeats.append(row)
    repeats += contesting.values()
    people = {person for old in gone for person in (old.root_id, old.customer_id)}
    if not people - {None} <= locked:
        missing = frozenset(person for person in people if person)
        raise LockSetGrew(Locks(customers=locked | missing))
    leaving = await recorded_clicks(connection, [old.id for old in gone])
    visits.require(leaving)
    await connection.execute(_SQL["events_remove"], [old.id for old in gone])
    standing = [*fates.standing, *earlier]
    went = {old.id for old in gone}
    back = [row for row in standing if row.id in went]
    await _add(connection, back)
    await visits.settle(MovedClicks(leaving, clicks_of(back)), deltas)
    return _WritePlan(standing, fates.plain, (), [*fates.repeats, *repeats]), gone


def _count(deltas: CounterDeltas, fates: _WritePlan, gone: Sequence[StoredRow]) -> None:
    deltas.take(gone)
    for rows in (fates.standing, fates.plain):
        deltas.put(rows)
    deltas.clicked(fates.heard)


async def _tally(
    connection: Connection,
    fates: _WritePlan,
    gone: Sequence[StoredRow],
    tally: LedgerDelta,
) -> None:
    """Note the repeats, and count every entry once, however often it is delivered."""
    repeats = [(row.entry, row.id) for row in (*fates.repeats, *gone)]
    if repeats:
        entries = [list(part) for part in zip(*(e for e, _ in repeats), strict=True)]
        ids = [event_id for _, event_id in repeats]
        for record in await connection.fetch(_SQL["repeats_add"], *entries, ids):
            shard = LedgerShard(record["epoch"], record["shard"])
            tally.repeats[shard] += 1
            tally.beyond_first[shard] += record["entry_index"] > 0
    stands = Counter(
        (*row.entry[:2], row.entry.ordinal > 0)
        for row in (*fates.standing, *fates.plain)
    )
    for (epoch, number, is_beyond_first), rows in stands.items():
        shard = LedgerShard(epoch, number)
        tally.recorded[shard] += rows
        tally.beyond_first[shard] += rows * is_beyond_first
    for old in gone:
        tally.count(tally.recorded, old.entry, -1)


def _by_id(row: Row) -> int:
    return row.id.int
