"""The windows of visitors that one transaction holds locked.

    begun → judge (before rows are written) → settle (where rows went or moved)

`begun` comes before any other lock of a transaction. A click concerns the row of its own
quarter of a day, and in a quarter's first hour the row before it, too: of two clicks within
one hour, both concern the row of the earlier one, so that their writers wait for one another.
Rows are made and locked in the order of their keys. Only a transaction that holds the row of
a click's visitor changes the click's flag.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Final, NamedTuple, Self
from uuid import UUID

from msgspec.structs import replace

from workers.counters.counters import CounterDeltas
from workers.model.rows import Row
from workers.postgres.database import ConcurrentInsert, Connection, Locks, LockSetGrew
from workers.postgres.sql import statements
from workers.visits import cascade
from workers.visits.cascade import recorded_clicks
from workers.visits.windows import (
    FIRST_QUARTER,
    Click,
    Clicks,
    Timeline,
    key_after,
    keys_ahead,
    keys_concerned,
    keys_later,
    pack,
    provisional,
    quarter_of,
    unpack,
    visitor_of,
    windows_of,
)

_SQL: Final = statements("visits/visits")


class MovedClicks(NamedTuple):
    """Recorded clicks that left their visitor, and recorded clicks that came to one."""

    leaving: Clicks
    arriving: Clicks


class Visits:
    """What one transaction holds of visitors' windows.

    Every method but `begun` raises LockSetGrew where the transaction has to begin again with
    more locks.
    """

    def __init__(self, connection: Connection) -> None:
        """`connection` is inside the transaction; nothing is held yet."""
        self._connection = connection
        self._rows = 0
        self._begun: Clicks = {}
        #: The windows in the table, by the keys that are locked.
        self._held: dict[bytes, bytes] = {}
        #: Of them, what `begun` made of its clicks alone.
        self._provisional: set[bytes] = set()
        #: Visitors of whom more clicks may be recorded.
        self._known: set[bytes] = set()
        self._since = FIRST_QUARTER

    @classmethod
    async def begun(
        cls, connection: Connection, rows: Sequence[Row], wider: frozenset[bytes]
    ) -> Self:
        """Lock what the clicks among new rows concern, and the keys in `wider`.

        Missing rows are made, with the windows that these clicks open among themselves.
        """
        visits = cls(connection)
        visits._rows, visits._begun = len(rows), cascade.clicks_of(rows)
        await visits._begin(wider)
        return visits

    async def _begin(self, wider: frozenset[bytes]) -> None:
        marks = dict.fromkeys(wider, b"") | provisional(self._begun)
        if not marks:
            return
        keys = sorted(marks)
        others = await self._connection.fetch(
            _SQL["visits_lock"], keys, [marks[key] for key in keys]
        )
        self._held, self._provisional = marks, set(marks)
        if others:
            self._since = others[0]["quarter"]
            there = [record["key"] for record in others]
            self._provisional.difference_update(there)
            for key in there:
                del self._held[key]
            known = await self._read(there)
            self._held |= known
            self._known |= set(map(visitor_of, known))
        if ahead := keys_ahead(self._begun):
            # Hardly ever: the next quarter has begun, and these clicks come late.
            latest = await self._connection.fetchval(_SQL["visits_latest"]) or b""
            later = await self._read(key for key in ahead if key <= latest)
            self._known |= {visitor_of(key) for key in later if later[key]}

    async def judge(
        self, rows: Sequence[Row], deltas: CounterDeltas
    ) -> dict[UUID, Row]:
        """Those of the rows about to be written whose flag is another, with that flag.

        Recorded clicks that change with them are corrected, and counted anew. A click that
        cannot be compared, having no visitor or a time whose visits are not kept, stays as the
        edge flagged it.
        """
        if self._is_plain(rows):
            return {}
        coming = self._compared(cascade.clicks_of(rows))
        self._known |= {
            visitor
            for visitor, clicks in self._begun.items()
            if len(coming.get(visitor, ())) != len(clicks)
        }
        known = {visitor: coming.get(visitor, ()) for visitor in self._known}
        duplicates, flags = await self._play(MovedClicks({}, known))
        await cascade.put_flags(self._connection, flags, deltas)
        for visitor, clicks in coming.items():
            if visitor not in known:
                duplicates |= _ids(clicks) - _ids(windows_of(sorted(clicks)))
        self._provisional.clear()
        compared = _ids(chain.from_iterable(coming.values()))
        return {
            row.id: replace(
                row, event=replace(row.event, is_duplicate=row.id in duplicates)
            )
            for row in rows
            if row.id in compared
            and row.event.is_duplicate is not (row.id in duplicates)
        }

    async def settle(self, moved: MovedClicks, deltas: CounterDeltas) -> None:
        """Bring flags and counters in line with recorded clicks that moved.

        What they concern is locked: see `require`.
        """
        moved = MovedClicks(*map(self._compared, moved))
        self._provisional.clear()
        concerned = chain.from_iterable(map(keys_concerned, moved))
        self._held |= await self._read(concerned)
        duplicates, flags = await self._play(moved)
        arrived = _ids(chain.from_iterable(moved.arriving.values()))
        flags |= {each: each in duplicates for each in arrived}
        await cascade.put_flags(self._connection, flags, deltas)

    def require(self, *clicks: Clicks) -> None:
        """Raise LockSetGrew where what recorded clicks concern is not locked."""
        concerned = map(keys_concerned, map(self._compared, clicks))
        if lacking := set(chain.from_iterable(concerned)) - self._held.keys():
            raise LockSetGrew(Locks(visits=frozenset(lacking)))

    def _is_plain(self, rows: Sequence[Row]) -> bool:
        """Whether all rows are those of `begun`, by visitors of whom nothing else is known."""
        return (
            not self._known
            and len(rows) == self._rows
            and len(self._begun) == sum(map(len, self._begun.values()))
            and not any(row.event.is_duplicate for row in rows)
        )

    def _compared(self, clicks: Clicks) -> Clicks:
        """Without those of a time whose visits are not kept."""
        if self._since == FIRST_QUARTER:
            return clicks
        kept = {
            visitor: [each for each in some if quarter_of(each.at_ms) >= self._since]
            for visitor, some in clicks.items()
        }
        return {visitor: some for visitor, some in kept.items() if some}

    async def _read(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        asked = list(keys)
        if not asked:
            return {}
        found = await self._connection.fetch(_SQL["visits_read"], asked)
        return {record["key"]: record["windows"] for record in found}

    async def _play(self, moved: MovedClicks) -> tuple[set[UUID], dict[UUID, bool]]:
        """Let clicks go and come, and store the windows.

        The duplicates among those that come; recorded clicks whose flag changes.
        """
        visitors = moved.leaving.keys() | moved.arriving.keys()
        stored = {k: w for k, w in self._held.items() if visitor_of(k) in visitors}
        stored |= await self._read(set(map(key_after, stored)) - stored.keys())
        timelines = {visitor: Timeline() for visitor in visitors}
        for key in stored.keys() - self._provisional:
            timelines[visitor_of(key)].load(unpack(stored[key]))
        await cascade.play(self._connection, timelines, moved.leaving, moved.arriving)
        await self._store(timelines, stored)
        duplicates = {
            each.id
            for visitor, clicks in moved.arriving.items()
            for each in clicks
            if timelines[visitor].is_duplicate(each)
        }
        flips = [timeline.flips for timeline in timelines.values()]
        return duplicates, dict(chain.from_iterable(each.items() for each in flips))

    async def _store(
        self, timelines: Mapping[bytes, Timeline], stored: Mapping[bytes, bytes]
    ) -> None:
        """Store windows that are others than before. Raises LockSetGrew."""
        after = dict.fromkeys(stored, b"")
        for visitor, timeline in timelines.items():
            after |= pack(visitor, timeline.windows)
        changed = {k: w for k, w in after.items() if w != stored.get(k, b"")}
        if lacking := changed.keys() - self._held.keys():
            later = await self._read(chain.from_iterable(map(keys_later, lacking)))
            raise LockSetGrew(Locks(visits=frozenset(lacking | later.keys())))
        if changed:
            columns = list(changed), list(changed.values())
            await self._connection.execute(_SQL["visits_put"], *columns)
            self._held |= changed


def _ids(clicks: Iterable[Click]) -> set[UUID]:
    return {click.id for click in clicks}


async def forget(connection: Connection, events: Sequence[UUID]) -> None:
    """Forget the clicks among events, before a transaction's other locks.

    A row that holds no window of anybody else's goes. Raises ConcurrentInsert where a click
    moved meanwhile.
    """
    clicks = await recorded_clicks(connection, events)
    if not clicks:
        return
    found = await connection.fetch(
        _SQL["visits_lock_known"], list(keys_concerned(clicks))
    )
    if clicks != await recorded_clicks(connection, events):
        raise ConcurrentInsert("clicks moved while they were being forgotten")
    left: dict[bytes, bytes] = {}
    for record in found:
        visitor = visitor_of(record["key"])
        gone = clicks[visitor]
        kept = [each for each in unpack(record["windows"]) if each not in gone]
        left[record["key"]] = b"".join(pack(visitor, kept).values())
    kept_keys = [key for key, windows in left.items() if windows]
    await connection.execute(
        _SQL["visits_put"], kept_keys, [left[key] for key in kept_keys]
    )
    await connection.execute(_SQL["visits_drop"], list(left.keys() - set(kept_keys)))
