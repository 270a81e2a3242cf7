"""Counts the entries and events that an edge appended, by the streams' epochs.

A server that comes back empty has lost entries which it acknowledged after the workers last
counted them. The edge publishes its counts once a second, so that the ledger shows the loss.
If a server is emptied without going away, up to a second's entries count for the former
epoch.
"""

from collections import Counter
from collections.abc import Sequence


class AppendCounts:
    """What one edge has appended since it started; workers number the epochs."""

    def __init__(self) -> None:
        """Begin with no counts."""
        self._ended: Counter[int] = Counter()
        self._ended_beyond_first: Counter[int] = Counter()
        #: Entries that the stream acknowledged in the present epoch, by shard.
        self.live: Counter[int] = Counter()
        #: Their events that are not the first of their entry.
        self.live_beyond_first: Counter[int] = Counter()
        self._epochs: dict[int, int] = {}

    def set_epochs(self, epochs: Sequence[int | None]) -> None:
        """Set the epoch of every shard's stream; None before a worker numbers it.

        Call it before anything is appended to a server that was away.
        """
        for shard, now in enumerate(epochs):
            before = self._epochs.get(shard)
            if before is not None and now != before:
                self._ended[before] += self.live.pop(shard, 0)
                beyond_first = self.live_beyond_first.pop(shard, 0)
                self._ended_beyond_first[before] += beyond_first
                del self._epochs[shard]
            if now is not None:
                self._epochs[shard] = now

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
