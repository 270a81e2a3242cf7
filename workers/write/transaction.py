"""Records one batch in one transaction.

    begin visits → identify → claim → judge visits → insert clicks → create customers → lock
    → replace → merge profiles → insert leads → attribute → insert plain leads
    → judge leads without keys → settle refunds → queue for publishing → enter into the ledger
    → count → award → keep tokens

Locks are taken in this order of steps, and within a step in the order of keys, so writers
never wait for one another in a circle. Leads and sales are inserted under the locks of their
customers: an event may be a plain lead to one writer and none to another that has it as well,
and both must lock before they insert. Counters come last, since all workers share their rows;
a consumer's rows of the ledger are its own. If the process dies before the commit, nothing
happened and the entries are delivered again. If it dies after the commit, they are delivered
again and found recorded under the same entry.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from ingest.contracts.envelope import CLICK
from workers.counters.counters import CounterDeltas
from workers.counters.ledger import LedgerDelta, LedgerShard
from workers.model.rows import COLUMNS, Row, StoredRow, values_of
from workers.postgres.database import (
    NO_LOCKS,
    Connection,
    Locks,
    LockSetGrew,
    columns,
    copy_rows,
)
from workers.postgres.sql import statements
from workers.refunds import settling as refunds
from workers.visits.cascade import clicks_of, recorded_clicks
from workers.visits.visits import MovedClicks, Visits
from workers.write import (
    customers,
    dedup,
    keyless,
    plain_leads,
    profile_merge,
    publish_queue,
)

_SQL: Final = statements("write/transaction")


@dataclass(frozen=True, slots=True, kw_only=True)
class _WritePlan:
    """What becomes of the rows of a batch."""

    #: Clicks that are inserted; plain ones of new visitors are kept apart.
    inserted: Sequence[Row] = ()
    plain: Sequence[Row] = ()
    #: Leads and sales, to be inserted under the locks: plain ones, and all others.
    leads: Sequence[Row] = ()
    other_leads: Sequence[Row] = ()
    #: Rows that happened earlier than what was stored under their id, and may replace it.
    replacing: Sequence[Row] = ()
    repeats: Sequence[Row] = ()
    #: Ids that lost their claim: their rows are deleted.
    displaced: Sequence[UUID] = ()

    @property
    def going(self) -> list[UUID]:
        """Ids whose rows may be deleted."""
        return [*self.displaced, *(row.id for row in self.replacing)]

    @property
    def new_rows(self) -> list[Row]:
        """All rows of new entries, except plain clicks."""
        return [*self.inserted, *self.other_leads, *self.replacing, *self.repeats]


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

    They are added to the tally, which is entered as the consumer's. Without a consumer it is not
    entered, for a transaction that will be undone. The transaction has to begin again where it raises
    `LockSetGrew`, with wider locks, or `ConcurrentInsert`.
    """
    deltas = CounterDeltas()
    visits = await Visits.begun(connection, rows, wider.visits)
    plain, others = split_plain(rows)
    claims, leads = await _claimed(connection, plain, others, new_id, wider)
    plan = await _insert(connection, plain, leads, claims, visits, deltas)
    fresh = await profile_merge.create_anonymous(connection, plan.new_rows, plan.plain)
    new_rows = plan.new_rows
    going = await _stored(connection, plan.going)
    about, gone = customers.lock_set_of(new_rows, going, fresh, claims.aliases), going
    sellers = await refunds.sellers(connection, claims.sales)
    if about.ids or going or plan.leads or sellers:
        locked = wider.customers | plain_leads.locked_by(plan.leads) | sellers
        about = await customers.lock(connection, about, locked)
        await plain_leads.require(connection, plan.leads, about.ids)
        plan, gone = await _replace(connection, plan, about.ids, visits, deltas)
        await profile_merge.merge_profiles(connection, new_rows, fresh, plan.leads)
    _count(deltas, plan, gone)
    plan = await _attribute(connection, plan, about, claims, deltas)
    await publish_queue.note(
        connection, [*new_rows, *plan.plain], plan.leads, about, deltas.links
    )
    await _tally(connection, plan, gone, tally)
    if consumer is not None:
        await tally.enter(connection, consumer)
    # Last, since other workers wait for the rows of counters.
    await deltas.apply(connection)
    await publish_queue.keep_tokens(connection, new_rows)


async def _claimed(
    connection: Connection,
    plain: Sequence[Row],
    others: Sequence[Row],
    new_id: Callable[[], UUID],
    wider: Locks,
) -> tuple[dedup.DedupResult, list[Row]]:
    """What the claims say of rows that are no plain clicks, and which are plain leads."""
    others, created = await customers.identify(connection, others, new_id)
    claims = await dedup.claim_keys(connection, others)
    rows = [*plain, *others]
    return claims, await plain_leads.find(
        connection, rows, claims, created, wider.leads
    )


async def _attribute(
    connection: Connection,
    plan: _WritePlan,
    about: customers.LockSet,
    claims: dedup.DedupResult,
    deltas: CounterDeltas,
) -> _WritePlan:
    """Insert and attribute leads, set which of those without a key count, and settle refunds.

    Returns the plan with the clicks that earn the plain leads.
    """
    await _add(connection, plan.other_leads)
    connected: Sequence[UUID] = ()
    if about.ids:
        connected = await customers.attribute(connection, about, deltas)
    if plan.leads:
        leads = await plain_leads.attributed(connection, plan.leads)
        await _add(connection, leads)
        deltas.put(leads)
        plan = replace(plan, leads=leads)
    named = plain_leads.customers_of(plan.leads)
    await keyless.judge(connection, about.keyless, {*connected, *named}, deltas)
    await refunds.settle(connection, claims.sales, deltas)
    return plan


async def _insert(
    connection: Connection,
    plain: Sequence[Row],
    leads: Sequence[Row],
    claims: dedup.DedupResult,
    visits: Visits,
    deltas: CounterDeltas,
) -> _WritePlan:
    """Insert the clicks of least rank of every id; compare the rest with what is stored."""
    groups = _attempts(claims.contenders, frozenset(row.id for row in leads))
    firsts = [*plain, *(group[0] for group in groups.values())]
    known, customer_ids = await _known(connection, [*firsts, *leads])
    new = [row for row in firsts if row.id not in known] if known else firsts
    if flagged := await visits.judge(new, deltas):
        new = [flagged.get(row.id, row) for row in new]
        plain = [flagged.get(row.id, row) for row in plain]
        for event_id in flagged.keys() & groups.keys():
            groups[event_id][0] = flagged[event_id]
    await _add(connection, [row for row in new if row.event.kind is CLICK])
    inserted, replacing, repeats = list[Row](), list[Row](), list(claims.lost)
    other_leads = list[Row]()
    for event_id in groups.keys() - known:
        first, *others = groups.pop(event_id)
        (inserted if first.event.kind is CLICK else other_leads).append(first)
        repeats += [row for row in others if row.entry != first.entry]
    if known or customer_ids:
        groups |= {row.id: [row] for row in (*plain, *leads) if row.id in known}
        leads = [row for row in leads if row.id not in known]
        inserted += [row for row in plain if row.id in customer_ids - known]
        plain = [row for row in plain if row.id not in customer_ids | known]
    for old in await _stored(connection, list(groups)):
        others = [row for row in groups[old.id] if row.entry != old.entry]
        if others and others[0].rank < old.rank:
            replacing.append(others.pop(0))
        repeats += others
    return _WritePlan(
        inserted=inserted,
        plain=plain,
        leads=leads,
        other_leads=other_leads,
        replacing=replacing,
        repeats=repeats,
        displaced=list(claims.displaced),
    )


def _attempts(rows: Iterable[Row], excluded: frozenset[UUID]) -> dict[UUID, list[Row]]:
    """The attempts at each event, those of least rank first."""
    groups: dict[UUID, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row.rank, row.entry)):
        if row.id not in excluded:
            groups[row.id].append(row)
    return groups


async def _known(
    connection: Connection, rows: Sequence[Row]
) -> tuple[set[UUID], set[UUID]]:
    """The ids that events have already, and those that customers have."""
    found: dict[bool, set[UUID]] = {True: set(), False: set()}
    if rows:
        ids = [row.id for row in rows]
        for record in await connection.fetch(_SQL["events_known"], ids):
            found[record["is_row"]].add(record["id"])
    return found[True], found[False]


async def _add(connection: Connection, rows: Sequence[Row]) -> None:
    """Insert rows in the order of their ids. Raises ConcurrentInsert."""
    if rows:
        records = map(values_of, sorted(rows, key=_by_id))
        await copy_rows(connection, "events", COLUMNS, records, len(rows))


async def _stored(connection: Connection, ids: Sequence[UUID]) -> list[StoredRow]:
    if not ids:
        return []
    records = await connection.fetch(_SQL["events_stored"], ids)
    return [StoredRow.of(record) for record in records]


async def _replace(
    connection: Connection,
    plan: _WritePlan,
    locked: frozenset[UUID],
    visits: Visits,
    deltas: CounterDeltas,
) -> tuple[_WritePlan, list[StoredRow]]:
    """Delete displaced rows and insert earlier ones; the rows that were deleted.

    Rows are compared again under the locks: another writer may have inserted a still earlier
    one, and a lead may have been attributed since.
    """
    if not plan.replacing and not plan.displaced:
        return plan, []
    replacing = {row.id: row for row in plan.replacing}
    await connection.execute(_SQL["events_lock"], sorted(replacing))
    # By id: an id that lost one claim may hold another.
    leaves = {old.id: old for old in await _stored(connection, plan.displaced)}
    earlier, repeats = list[Row](), list[Row]()
    for old in await _stored(connection, list(replacing)):
        row = replacing.pop(old.id)
        if row.rank < old.rank:
            earlier.append(row)
            leaves[old.id] = old
        elif row.entry != old.entry:
            repeats.append(row)
    repeats += replacing.values()
    gone = list(leaves.values())
    customer_ids = frozenset(
        each for old in gone for each in (old.root_id, old.customer_id) if each
    )
    if not customer_ids <= locked:
        raise LockSetGrew(Locks(customers=locked | customer_ids))
    leaving = await recorded_clicks(connection, [old.id for old in gone])
    visits.require(leaving)
    await connection.execute(_SQL["events_remove"], [old.id for old in gone])
    inserted = [*plan.inserted, *earlier]
    back = [row for row in inserted if row.id in leaves]
    await _add(connection, back)
    await visits.settle(MovedClicks(leaving, clicks_of(back)), deltas)
    repeats = [*plan.repeats, *repeats]
    return replace(
        plan, inserted=inserted, replacing=(), repeats=repeats, displaced=()
    ), gone


def _count(deltas: CounterDeltas, plan: _WritePlan, gone: Sequence[StoredRow]) -> None:
    deltas.take(gone)
    for rows in (plan.inserted, plan.plain, plan.other_leads):
        deltas.put(rows)
    deltas.clicked(plan.new_rows)


async def _tally(
    connection: Connection,
    plan: _WritePlan,
    gone: Sequence[StoredRow],
    tally: LedgerDelta,
) -> None:
    """Store the repeats, and count every entry once, however often it is delivered."""
    repeats = [(*row.entry, row.id) for row in (*plan.repeats, *gone)]
    if repeats:
        for record in await connection.fetch(_SQL["repeats_add"], *columns(repeats)):
            shard = LedgerShard(record["epoch"], record["shard"])
            tally.repeats[shard] += 1
            tally.beyond_first[shard] += record["entry_index"] > 0
    counts = Counter(
        (*row.entry[:2], row.entry.ordinal > 0)
        for row in (*plan.inserted, *plan.plain, *plan.leads, *plan.other_leads)
    )
    for (epoch, number, is_beyond_first), rows in counts.items():
        shard = LedgerShard(epoch, number)
        tally.recorded[shard] += rows
        tally.beyond_first[shard] += rows * is_beyond_first
    for old in gone:
        tally.count(tally.recorded, old.entry, -1)


def _by_id(row: Row) -> int:
    return row.id.int


def split_plain(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """The plain clicks, and all other rows; rows that share an id are not plain.

    A plain click cannot concern the row of another event: it has no dedupe key, names no
    earlier click, and has no short id. Most traffic is plain: first clicks of new visitors.
    They are inserted in bulk, unless an id turns out to be known.
    """
    plain = [row for row in rows if _is_plain(row)]
    # By number, since a UUID's hash is computed in Python.
    if len(plain) == len(rows) == len({row.rank.id.int for row in plain}):
        return plain, []
    times = Counter(row.id for row in rows)
    plain = [row for row in plain if times[row.id] == 1]
    others = [row for row in rows if times[row.id] > 1 or not _is_plain(row)]
    return plain, others


def _is_plain(row: Row) -> bool:
    return (
        row.event.kind is CLICK
        and row.place.link_id is not None
        and row.place.click_id is None
        and row.envelope.request.dedupe is None
        and row.envelope.click.token is None
        and not row.event.is_test
    )
