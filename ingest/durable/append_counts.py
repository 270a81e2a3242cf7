"""How many entries an edge appended, by the life of the stream.

A server that comes back empty has forgotten what it acknowledged since workers last counted.
The edge has not: it says so once a second, and the books tell how much is missing. Where a
server is emptied and never goes away, up to a second's entries are told of the former life.
"""

from collections import Counter
from collections.abc import Sequence


class AppendCounts:
    """What one edge appended since it started; lives are numbered as workers number them."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._ended: Counter[int] = Counter()
        self._live: Counter[int] = Counter()
        self._lives: dict[int, int] = {}

    def add(self, shard: int) -> None:
        """The stream has acknowledged an entry of a shard."""
        self._live[shard] += 1

    def turn(self, lives: Sequence[int | None]) -> None:
        """The life that every shard's stream is in now; None before a worker numbers it.

        Say so before anything is appended to a server that was away.
        """
        for shard, now in enumerate(lives):
            before = self._lives.get(shard)
            if before is not None and now != before:
                self._ended[before] += self._live.pop(shard, 0)
                del self._lives[shard]
            if now is not None:
                self._lives[shard] = now

    def told(self) -> dict[str, int]:
        """How many entries of each life, by its number."""
        total = Counter(self._ended)
        for shard, life in self._lives.items():
            total[life] += self._live[shard]
        return {str(life): count for life, count in total.items() if count}
