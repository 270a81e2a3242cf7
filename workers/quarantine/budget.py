"""How much of what clients cause quarantine keeps, and for whom."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, get_args

from ingest.contracts.shares import Level, most
from ingest.contracts.telemetry import Bounded
from ingest.contracts.variables import QUARANTINE_ROWS
from workers.model.batch import Holder
from workers.postgres.database import Connection
from workers.postgres.sql import statements

_SQL: Final = statements("quarantine/quarantine")

_RECOUNT_SECONDS: Final = 1.0
#: A count takes at most this part of the time.
_COUNTING: Final = 1 / 20
_LOG_SECONDS: Final = 60.0

LEVELS: Final = ("all", *get_args(Level))
#: What `grouping` of the statement stands for.
_LEVELS: Final[dict[int, Level]] = {3: "workspace", 1: "link", 2: "sender"}

#: A level, the workspace, and the link or network in it.
_Subject = tuple[Level, object, str | None]


class Share(NamedTuple):
    """What the largest holder of a level has, and how much it may have."""

    #: A `Level`, or `all`.
    level: str
    kept: int
    most: int
    workspace: str | None = None
    #: The link's id, its namespace and code, or the network.
    named: str | None = None


async def largest_shares(
    connection: Connection, rows: int, least: int | None = None
) -> list[Share]:
    """The largest holder of every level that has one.

    Links and networks with fewer than `least` entries are not looked at: as a rule, with
    less than half of a network's share.
    """
    counts = await _count(connection, _many(rows) if least is None else least)
    found = [Share("all", _total(counts), rows)] if counts else []
    for level in _LEVELS.values():
        held = {each: kept for each, kept in counts.items() if each[0] == level}
        if held:
            (_, workspace, named), kept = max(held.items(), key=lambda item: item[1])
            owner = None if workspace is None else str(workspace)
            found.append(Share(level, kept, most(level, rows), owner, named))
    return found


@dataclass(slots=True)
class QuarantineBudget:
    """Limits how much of what clients cause stays in quarantine.

    Any client can send unknown codes. Such an entry is kept with its payload while there is
    room: a number of rows in all, and half of that for one workspace, or for all entries of
    unknown workspaces together. Of what came without a key, one link or code of a workspace
    has room for a quarter, and one network of senders for a sixteenth. Beyond that it is
    *dropped*: counted, and listed by its place in the stream, so that the ledger stays exact
    and a replay can record it; only the stream and the archive have its payload. Entries with
    bad data are always kept.

    Every worker counts the rows once a second. `clock` gives monotonic seconds.
    """

    rows: int = QUARANTINE_ROWS
    clock: Callable[[], float] = time.monotonic
    _counts: Counter[_Subject] = field(default_factory=Counter)
    _count_again_at: float = float("-inf")
    _full_log: Bounded = field(init=False)

    def __post_init__(self) -> None:
        self._full_log = Bounded("quarantine.full", self.clock, _LOG_SECONDS)

    async def admit(
        self, connection: Connection, holders: Iterable[Holder]
    ) -> list[bool]:
        """Whether there is room for an entry of each of these, in this order.

        Call `note` with those that were committed.
        """
        began = self.clock()
        if began >= self._count_again_at:
            self._counts = await _count(connection, _many(self.rows))
            took = self.clock() - began
            self._count_again_at = began + max(_RECOUNT_SECONDS, took / _COUNTING)
        kept = self._counts.copy()
        return [self._admit(kept, holder) for holder in holders]

    def note(self, admitted: Counter[Holder]) -> None:
        """Count what was committed, by holder."""
        for holder, entries in admitted.items():
            self._counts.update(dict.fromkeys(_subjects(holder), entries))

    def _admit(self, kept: Counter[_Subject], holder: Holder) -> bool:
        subjects = _subjects(holder)
        full = [each[0] for each in subjects if kept[each] >= most(each[0], self.rows)]
        if full or _total(kept) >= self.rows:
            owner = str(holder.workspace_id) if holder.workspace_id else None
            self._full_log.warning(rows=self.rows, workspace=owner)
            return False
        kept.update(subjects)
        return True


def _subjects(holder: Holder) -> list[_Subject]:
    """Whose shares an entry counts against."""
    owner = holder.workspace_id
    subjects: list[_Subject] = [("workspace", owner, None)]
    if holder.named is not None:
        subjects.append(("link", owner, holder.named))
    if holder.sender:
        subjects.append(("sender", owner, holder.sender))
    return subjects


def _total(counts: Counter[_Subject]) -> int:
    return sum(kept for (level, *_), kept in counts.items() if level == "workspace")


def _many(rows: int) -> int:
    return max(1, most("sender", rows) // 2)


async def _count(connection: Connection, many: int) -> Counter[_Subject]:
    """How many entries are kept, by holder; of links and networks those with so many."""
    found = await connection.fetch(_SQL["budget_count"], many)
    return Counter(
        {
            (_LEVELS[row["level"]], row["workspace_id"], row["subject"]): row["kept"]
            for row in found
        }
    )
