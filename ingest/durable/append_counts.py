"""Counts the entries and events that an edge appended, by the streams' epochs.

A server that loses data has acknowledged entries that it no longer has. So the edge keeps the
ids of its latest entries. When the server was restarted or replaced, the probe asks which of
them are there, and reports how many vanished. It publishes all counts once a second, so that
the ledger shows the loss.
"""

from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple

#: Of a shard, so many ids of entries are kept: 64 bytes each.
KEPT_IDS: Final = 10_000


class Absent(NamedTuple):
    """Ids that a stream does not have, and those of them that nobody removed."""

    ids: AbstractSet[bytes]
    vanished: AbstractSet[bytes]


NO_ABSENT: Final[Mapping[int, Absent]] = {}


class AppendCounts:
    """What one edge has appended since it started; workers number the epochs."""

    def __init__(self, shards: int) -> None:
        """Begin with no counts."""
        self._ended: Counter[int] = Counter()
        self._ended_beyond_first: Counter[int] = Counter()
        #: Entries that the stream acknowledged in the present epoch, by shard.
        self.live: Counter[int] = Counter()
        #: Their events that are not the first of their entry.
        self.live_beyond_first: Counter[int] = Counter()
        #: The ids of the latest, by shard; None for an append that was not answered.
        self.latest: list[deque[bytes | None]]
        self.latest = [deque(maxlen=KEPT_IDS) for _ in range(shards)]
        #: How many were not answered in the present epoch, by shard.
        self.unanswered: Counter[int] = Counter()
        self._epochs: dict[int, int] = {}
        self._vanished: Counter[int] = Counter()
        self._unsure: Counter[int] = Counter()
        self._first_vanished: dict[int, int] = {}

    def is_new(self, shard: int, epoch: int | None) -> bool:
        """Whether this epoch follows another that the edge appended to."""
        return self._epochs.get(shard, epoch) != epoch

    def set_epochs(
        self, epochs: Sequence[int | None], absent: Mapping[int, Absent] = NO_ABSENT
    ) -> None:
        """Set the epoch of every shard's stream; None before a worker numbers it.

        Call it before anything is appended to a server that was away. `absent` has, by shard,
        which of `latest` the stream does not have.
        """
        for shard, now in enumerate(epochs):
            if shard in absent and not self.is_new(shard, now):
                self._note_vanished(shard, absent[shard].vanished)
            elif self.is_new(shard, now):
                self._end(shard, absent.get(shard))
            if now is not None:
                self._epochs[shard] = now

    def _end(self, shard: int, absent: Absent | None) -> None:
        """Begin an epoch with those of `latest` that its stream has."""
        before = self._epochs.pop(shard)
        gone = () if absent is None else absent.ids
        latest = [] if absent is None else list(filter(None, self.latest[shard]))
        there = [one for one in latest if one not in gone]
        self._ended[before] += self.live.pop(shard, 0) - len(there)
        self.live[shard] = len(there)
        self._ended_beyond_first[before] += self.live_beyond_first.pop(shard, 0)
        # Any of them may have been among what the server took along.
        self._unsure[before] += self.unanswered.pop(shard, 0)
        self._keep(shard, there)

    def _note_vanished(self, shard: int, gone: Collection[bytes]) -> None:
        """Count what vanished, once.

        A file that was cut and a replica that was behind lack the end of a stream: appends
        that were not answered may have vanished too if they came later.
        """
        epoch, latest = self._epochs.get(shard), list(self.latest[shard])
        if epoch is None or not gone:
            return
        first = next(at for at, one in enumerate(latest) if one in gone)
        while first and latest[first - 1] is None:
            first -= 1
        unsure = latest[first:].count(None)
        if first == 0 and len(latest) == KEPT_IDS:
            # Older ones may be gone too.
            unsure += max(0, self.live[shard] - KEPT_IDS)
        since = min(int(one.partition(b"-")[0]) for one in gone)
        self._vanished[epoch] += len(gone)
        self._unsure[epoch] += unsure
        self._first_vanished[epoch] = min(since, self._first_vanished.get(epoch, since))
        self._keep(shard, [one for one in latest if one and one not in gone])

    def _keep(self, shard: int, ids: list[bytes]) -> None:
        self.latest[shard].clear()
        self.latest[shard].extend(ids)

    def report(self) -> Mapping[str, Mapping[str, object]]:
        """All counts, by epoch, as the edge publishes them."""
        return {
            "appended": self.by_epoch(),
            "events": self.events_by_epoch(),
            "vanished": self.vanished(),
        }

    def vanished(self) -> dict[str, tuple[int, int, int]]:
        """By epoch: how many entries vanished; how many more may have; since when.

        The last in Unix milliseconds of Redis' clock.
        """
        return {
            str(epoch): (
                self._vanished[epoch],
                self._unsure[epoch],
                self._first_vanished.get(epoch, 0),
            )
            for epoch in {**self._vanished, **self._unsure}
        }

    def by_epoch(self) -> dict[str, int]:
        """The number of entries of each epoch."""
        return self._by_epoch(self._ended, self.live)

    def events_by_epoch(self) -> dict[str, int]:
        """The number of events of each epoch."""
        return self._by_epoch(
            self._ended + self._ended_beyond_first, self.live + self.live_beyond_first
        )

    def _by_epoch(self, ended: Counter[int], live: Counter[int]) -> dict[str, int]:
        total = Counter(ended)
        for shard, epoch in self._epochs.items():
            total[epoch] += live[shard]
        return {str(epoch): count for epoch, count in total.items() if count}
