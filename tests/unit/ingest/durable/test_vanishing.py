"""Servers lose the end of a stream, again and again: the edge's range has what is gone."""

from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

from hypothesis import example, given
from hypothesis import strategies as st

from ingest.durable.append_counts import Absent, AppendCounts

#: An edge here remembers so few entries that most losses go deeper.
KEPT = 5
EPOCH = 7


class Append(NamedTuple):
    events: int
    arrives: bool
    is_answered: bool


@dataclass
class Server:
    """A shard that keeps what it was sent, and an edge that may not hear of it."""

    appended: AppendCounts = field(default_factory=lambda: AppendCounts([0], KEPT))
    entries: list[tuple[bytes, int]] = field(default_factory=list)
    #: Of events that were answered. Others are sent again, or are on the edge's disk.
    events_gone: int = 0
    is_certain: bool = True
    _numbers: "count[int]" = field(default_factory=lambda: count(1))
    _events: "count[int]" = field(default_factory=lambda: count(1))

    def append(self, one: Append) -> None:
        ids = b"".join(next(self._events).to_bytes(16) for _ in range(one.events))
        entry = b"%d-1" % next(self._numbers)
        if one.arrives or one.is_answered:
            self.entries.append((entry, one.events if one.is_answered else 0))
        if one.is_answered:
            self.appended.note(0, entry, ids)
        else:
            self.appended.note_unanswered(0, ids)
            self.is_certain = False

    def lose(self, depth: int) -> None:
        """Take as many entries off the end; the edge compares."""
        gone = [self.entries.pop() for _ in range(min(depth, len(self.entries)))]
        self.events_gone += sum(events for _, events in gone)
        there = {entry for entry, _ in self.entries}
        absent = {*self.appended.latest(0)} - there
        self.is_certain &= len(gone) < KEPT
        self.appended.set_epochs({0: EPOCH}, {0: Absent(absent, absent)})


APPEND = st.builds(
    Append, st.integers(1, 4), st.booleans(), st.sampled_from([True, True, True, False])
)
#: Of how many entries the server loses.
DEPTH = st.integers(1, 3 * KEPT)


@example([Append(4, arrives=True, is_answered=True)] * 7 + [3 * KEPT])
@given(st.lists(APPEND | APPEND | APPEND | DEPTH, max_size=60))
def test_what_is_gone_is_within_what_the_edge_says(history: list[Append | int]) -> None:
    server = Server()
    server.appended.set_epochs({0: EPOCH})
    for happens in history:
        if isinstance(happens, int):
            server.lose(happens)
        else:
            server.append(happens)

    named = sum(len(one.event_ids) // 16 for one in server.appended.vanished_entries)
    _, unsure, _ = server.appended.vanished().get(str(EPOCH), (0, 0, 0))
    assert named <= server.events_gone <= named + unsure
    assert not unsure or not server.is_certain
